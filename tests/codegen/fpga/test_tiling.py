"""How work is cut into blocks, and what blocks may take."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.codegen.fpga.compile import SHARES
from edgemtl.hw.regions import capacities
from edgemtl.schedule.tiling import blocks, limits
from tests.codegen.fpga.rig import ENGINES, engines


@given(st.integers(1, 3000), st.integers(1, 600))
def test_blocks_follow_each_other_and_are_few_and_equal(rows: int, most: int) -> None:
    made = blocks(rows, most)
    assert [row for first, count in made for row in range(first, first + count)] == list(range(rows))
    sizes = [count for _, count in made]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert (len(made) - 1) * most < rows


def test_no_room_for_a_row_is_a_row_at_once() -> None:
    """Who asks finds out that the row does not fit."""
    assert blocks(3, 0) == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_smaller_share_takes_less_and_never_less_than_two_tiles(engine: str) -> None:
    made = engines()[engine].engine
    held = [limits(made, share) for share in SHARES]
    for larger, smaller in pairwise(held):
        for name in ("ring_lines", "scores", "queries", "hidden", "images", "resident_lines"):
            assert getattr(smaller, name) <= getattr(larger, name)
        assert smaller.hidden < larger.hidden
    whole = limits(made, 1.0)
    assert whole.ring_lines * 64 == made.weight_ring_bytes
    assert (whole.scores, whole.hidden) == tuple(capacities(made)[name] for name in ("scores0", "hidden"))
    assert limits(made, 0).ring_lines * 64 == 2 * made.array_rows * made.array_columns * made.dsp_clock_ratio
