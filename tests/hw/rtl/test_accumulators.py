"""The accumulators against sums over chains and tiles of k, for every number of rows of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgemtl.errors import InternalError
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit
from tests.hw.rtl.bits import packed, signed_numbers

COLUMNS, DEPTH = 4, 512
FILES = tuple(SOURCES / f"{name}.sv" for name in ("accumulators", "adder_tree", "delay"))


def design(chains: int) -> Design:
    return Design("accumulators", {"CHAINS": chains, "COLUMNS": COLUMNS, "DEPTH": DEPTH, "TAG": 8}, FILES)


def tiles_of(rng: np.random.Generator, shapes: list[tuple[int, int]], gaps: bool) -> dict[str, np.ndarray]:
    """Rows tile by tile of (rows, tiles of k): -1 where a cycle has none, at least 4 cycles a tile."""
    order = []
    for rows, tiles in shapes:
        for tile in range(tiles):
            tile_rows = [(row, tile == 0, tile == tiles - 1) for row in range(rows)]
            tile_rows += [(-1, 0, 0)] * max(4 - rows, 0)
            for row in tile_rows:
                order += [(-1, 0, 0)] * (int(rng.integers(0, 3)) if gaps else 0) + [row]
    row, first, last = np.array(order + [(-1, 0, 0)] * 8).T
    return {"row": row, "first": first, "last": last}


@pytest.mark.parametrize("chains", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_sums_over_tiles(chains: int) -> None:
    """1 to 512 rows of 1 to 4 tiles of k, without gaps and with; the ends of the chains' range in the last ones."""
    rng = np.random.default_rng(7)
    shapes = [(rows, tiles) for rows in (1, 3, 4, 17, 129) for tiles in (1, 2, 4)] + [(512, 2), (4, 9)]
    parts = [tiles_of(rng, shapes, False), tiles_of(rng, shapes, True)]
    given = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    cycles, there = len(given["row"]), given["row"] >= 0
    sums = rng.integers(-(2**17), 2**17, (cycles, chains, COLUMNS))
    sums[-100:] = rng.choice([-8 * 128 * 127, 8 * 127 * 127], (100, chains, COLUMNS))
    inputs: dict[str, Any] = {
        "in_valid": there,
        "in_first": np.where(there, given["first"], rng.integers(0, 2, cycles)),
        "in_last": np.where(there, given["last"], rng.integers(0, 2, cycles)),
        "in_row": np.where(there, given["row"], rng.integers(0, DEPTH, cycles)),
        "in_tag": rng.integers(0, 256, cycles),
        "in_sums": packed(sums.reshape(cycles, -1), 18),
    }
    latency = max((chains - 1).bit_length(), 2) + 1
    with Circuit(design(chains), seed=2) as circuit:
        circuit.run({"reset": [1]})
        out = circuit.run(inputs)
    totals, expected, ends = np.zeros((DEPTH, COLUMNS), int), [], []
    for cycle in np.flatnonzero(there):
        row = given["row"][cycle]
        totals[row] = sums[cycle].sum(0) + (0 if given["first"][cycle] else totals[row])
        if given["last"][cycle]:
            expected.append(totals[row].copy())
            ends.append(cycle)
    came = np.flatnonzero(out["out_valid"])
    np.testing.assert_array_equal(came, np.array(ends) + latency)
    np.testing.assert_array_equal(out["out_tag"][came], inputs["in_tag"][ends])
    np.testing.assert_array_equal(signed_numbers(out["out_sums"][came], 27, COLUMNS), expected)


def test_a_row_may_not_come_again_too_early() -> None:
    """The memory has not written a row's sums three cycles after they came."""
    with Circuit(design(2)) as circuit:
        circuit.run({"reset": [1]})
        again = {"in_valid": [1, 0, 0, 1], "in_first": [1, 0, 0, 0], "in_row": 5}
        with pytest.raises(InternalError, match="an assertion of the module failed"):
            circuit.run(again)
