"""The array against sums of products, chain by chain: tiles of every depth, loaded as late as allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit
from tests.hw.rtl.bits import signed_numbers

ROWS, COLUMNS, LOAD_ROWS = 16, 16, 2
CHAINS, LATENCY = ROWS // 8, 12
FILES = tuple(SOURCES / f"{name}.sv" for name in ("array", "delay", "dsp_mac2"))


@dataclass(frozen=True)
class Tile:
    """Weights int8 [depth, columns] and the rows int8 [rows, depth] that they meet."""

    weights: np.ndarray
    rows: np.ndarray

    @property
    def beats(self) -> int:
        """Cycles to load it."""
        return -(-len(self.weights) // LOAD_ROWS)

    @property
    def sums(self) -> np.ndarray:
        """Of each row, chain and column: byte j drives chain j mod chains."""
        depth = len(self.weights)
        parts = [self.rows[:, s::CHAINS].astype(int) @ self.weights[s::CHAINS].astype(int) for s in range(CHAINS)]
        assert depth <= ROWS
        return np.stack(parts, 1)


def draw_tile(rng: np.random.Generator, depth: int, rows: int, ends: bool) -> Tile:
    def draw(low: int, size: tuple[int, int]) -> np.ndarray:
        values = rng.choice([low, 127], size) if ends else rng.integers(low, 127, size, endpoint=True)
        return values.astype(np.int8)

    return Tile(draw(-127, (depth, COLUMNS)), draw(-128, (rows, depth)))


def drive(tiles: list[Tile], rng: np.random.Generator) -> tuple[dict[str, Any], list[int]]:
    """Inputs that load each tile from the cycle in which the one before it begins, and the cycles of the rows.

    What stands on inputs that are not valid is drawn.
    """
    begins, at = [], 0
    for before, tile in zip([None, *tiles[:-1]], tiles, strict=True):
        at += max(tile.beats, 0 if before is None else len(before.rows))
        begins.append(at)
    cycles = at + len(tiles[-1].rows) + LATENCY + 1
    inputs: dict[str, Any] = {
        "load_data": rng.integers(0, 256, (cycles, LOAD_ROWS * COLUMNS), np.uint8),
        "row_data": rng.integers(0, 256, (cycles, ROWS), np.uint8),
        "row_tag": rng.integers(0, 256, cycles),
        "load_group": rng.integers(0, ROWS // LOAD_ROWS, cycles),
        "row_swap": rng.integers(0, 2, cycles),
        "load_valid": np.zeros(cycles, int),
        "row_valid": np.zeros(cycles, int),
    }
    row_cycles = []
    for loaded, begin, tile in zip([0, *begins[:-1]], begins, tiles, strict=True):
        beats, rows = slice(loaded, loaded + tile.beats), slice(begin, begin + len(tile.rows))
        padded = np.zeros((tile.beats * LOAD_ROWS, COLUMNS), np.int8)
        padded[: len(tile.weights)] = tile.weights
        inputs["load_valid"][beats], inputs["load_group"][beats] = 1, np.arange(tile.beats)
        inputs["load_data"][beats] = padded.view(np.uint8).reshape(tile.beats, -1)
        inputs["row_valid"][rows], inputs["row_swap"][rows] = 1, 0
        inputs["row_swap"][begin] = 1
        inputs["row_data"][rows] = np.pad(tile.rows, ((0, 0), (0, ROWS - len(tile.weights)))).view(np.uint8)
        row_cycles += range(begin, begin + len(tile.rows))
    return inputs, row_cycles


@pytest.mark.parametrize("cells", [1, 0])
def test_sums_of_tiles_of_every_depth(cells: int) -> None:
    """Both views: depths 1..P of 1 to 5 rows, as tightly as loads and rows allow, then ends of every range."""
    rng = np.random.default_rng(4)
    tiles = [draw_tile(rng, depth, rows, False) for rows in (1, 5, 8, 2) for depth in rng.permutation(ROWS) + 1]
    tiles += [draw_tile(rng, ROWS, rows, True) for rows in (1, 40, 3)]
    inputs, row_cycles = drive(tiles, rng)
    design = Design(
        "array", {"ROWS": ROWS, "COLUMNS": COLUMNS, "LOAD_ROWS": LOAD_ROWS, "TAG": 8, "CELLS": cells}, FILES
    )
    with Circuit(design, seed=5) as circuit:
        circuit.run({"reset": [1]})
        out = circuit.run(inputs)
    came = np.flatnonzero(out["sum_valid"])
    np.testing.assert_array_equal(came, np.array(row_cycles) + LATENCY)
    np.testing.assert_array_equal(out["sum_tag"][came], inputs["row_tag"][row_cycles])
    sums = signed_numbers(out["sums"][came], 18, CHAINS * COLUMNS).reshape(-1, CHAINS, COLUMNS)
    np.testing.assert_array_equal(sums, np.concatenate([tile.sums for tile in tiles]))
