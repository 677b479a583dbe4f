"""The wiring of the array and the lanes of memories, against a model of shadow weights written cycle by cycle."""

import numpy as np
import pytest

from edgemtl.hw import geometry
from edgemtl.hw.spec import BOARDS, read_spec


def overwritten(rows: int, per_cycle: int, place) -> list[int]:
    """Rows whose shadow weights the next tile overwrites before they are swapped; it loads from the swap's cycle on.

    Every place of a chain swaps a cycle after the one before it; in a cycle swaps come before loads.
    """
    lost, shadows = [], dict.fromkeys(range(rows), "old")
    for cycle in range(rows):
        for row in range(rows):
            if place(row) == cycle and shadows[row] == "new":
                lost.append(row)
            elif place(row) == cycle:
                shadows[row] = "swapped"
        for row in range(cycle * per_cycle, min((cycle + 1) * per_cycle, rows)):
            shadows[row] = "new"
    return lost


@pytest.mark.parametrize(
    ("rows", "per_cycle"), [(96, 1), (96, 4), (96, 12), (64, 4), (64, 8), (32, 4), (16, 2), (8, 1)]
)
def test_the_next_tile_may_load_from_the_cycle_of_the_swap(rows, per_cycle):
    chains = rows // geometry.CHAIN_ROWS
    assert overwritten(rows, per_cycle, lambda row: geometry.place_of(row, chains)) == []
    pairs = {(geometry.chain_of(row, chains), geometry.place_of(row, chains)) for row in range(rows)}
    assert pairs == {(chain, place) for chain in range(chains) for place in range(8)}


def test_rows_side_by_side_in_a_chain_would_be_overwritten():
    """The order that this one replaces, and more rows a cycle than there are chains."""
    assert overwritten(96, 4, lambda row: row % 8)
    assert overwritten(96, 13, lambda row: geometry.place_of(row, 12))


@pytest.mark.parametrize("board", BOARDS)
def test_boards_load_no_more_rows_than_they_have_chains(board):
    engine = read_spec(board).engine
    per_cycle = engine.weight_load_bytes_per_cycle // engine.array_columns
    assert overwritten(engine.array_rows, per_cycle, lambda row: geometry.place_of(row, engine.segments)) == []


@pytest.mark.parametrize(("rows", "heads"), [(96, 1), (96, 2), (96, 3), (64, 2), (32, 2), (16, 2)])
def test_heads_have_chains_of_their_own(rows, heads):
    chains = rows // 8
    made = geometry.head_bytes(rows, heads)
    assert made.shape == (heads, rows // heads)
    assert sorted(made.reshape(-1).tolist()) == list(range(rows))
    for head, held in enumerate(made):
        assert {byte % chains // (chains // heads) for byte in held.tolist()} == {head}
        assert (np.diff(held) > 0).all()


def test_lanes_of_rows_of_scores():
    """Where three rows of 66 granules begin in one lane, those of 68 and of 76 do not; four lanes take two rows."""
    assert [geometry.score_rows_lie_apart(stride, 3, 6, 2) for stride in (66, 68, 70, 72, 76)] == [
        *(False, True, True, False, True)
    ]
    assert [geometry.score_rows_lie_apart(stride, 2, 4, 2) for stride in (44, 46)] == [False, True]
    assert geometry.score_rows_lie_apart(66, 1, 2, 2)
    assert not geometry.score_rows_lie_apart(66, 1, 1, 2)
    # Four granules of each of three rows in twelve lanes: rows begin 4 or 8 lanes apart.
    assert [stride for stride in range(60, 84, 2) if geometry.score_rows_lie_apart(stride, 3, 12, 4)] == [
        64,
        68,
        76,
        80,
    ]
    assert geometry.lie_apart([5, 6, 7], 3)
    assert not geometry.lie_apart([5, 8], 3)


def test_heads_of_the_boards():
    most = {board: [h for h in (1, 2, 3) if geometry.can_compute_heads(read_spec(board).engine, h)] for board in BOARDS}
    three = {key: [1, 2, 3] for key in ("zcu104", "zcu104x2", "zcu104x2-sodimm", "zcu102")}
    assert most == {**three, "kv260": [1, 2], "ultra96v2": [1]}
    lanes = {name: geometry.lanes_of(read_spec("zcu104").engine, name) for name in ("hidden", "scores1", "constants")}
    assert lanes == {"hidden": 3, "scores1": 6, "constants": 1}
    lanes = {name: geometry.lanes_of(read_spec("zcu104x2").engine, name) for name in ("hidden", "input", "scores0")}
    assert lanes == {"hidden": 6, "input": 3, "scores0": 12}
