"""How much of each memory on chip a stream may use, and the blocks that work is cut into to fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine

BLOCK_ROWS = 128
"""Rows of a block whose weights stay in the ring: long beside the time a tile of weights takes to load, and short
beside a network, since a block's first layer starts when its LayerNorm has ended."""
END_ROWS = 32
"""Rows of the first and of the last block: what waits for the first, or is waited for after the last, is then short."""
GROWTH = 1.5
"""The most by which a block is longer than the one before: a block's layer hides the LayerNorm of the next one."""
RESIDENT_SHARE = 0.6
"""Of the ring, what weights may take that stay for several blocks: the rest fetches ahead."""


@dataclass(frozen=True)
class TilingLimits:
    """What blocks may take, in bytes: of each score buffer, queries, hidden rows, pictures, and source rows."""

    ring_lines: int
    scores: int
    queries: int
    hidden: int
    images: int
    rows: int
    accumulator_rows: int
    cache_lines: int = 0

    @property
    def resident_lines(self) -> int:
        """Lines of weights that may stay in the ring."""
        return int(self.ring_lines * RESIDENT_SHARE)

    @property
    def block_rows(self) -> int:
        """Rows of a block whose weights stay in the ring."""
        return min(BLOCK_ROWS, self.accumulator_rows)

    def token_blocks(self, rows: int) -> list[tuple[int, int]]:
        """(first, rows) of blocks of at most `block_rows`, small ones at either end, growing by at most `GROWTH`."""
        end = min(END_ROWS, self.block_rows)
        inner = rows - 2 * end
        if inner < end:
            return blocks(rows, min(2 * end, self.block_rows))
        ends, most = [0], end
        while ends[-1] < inner:
            most = min(int(most * GROWTH), self.block_rows)
            ends.append(ends[-1] + most)
        cuts = [end + inner * at // ends[-1] for at in ends]
        return [(0, end), *((a, b - a) for a, b in pairwise(cuts)), (rows - end, end)]


def limits(engine: Engine, share: float) -> TilingLimits:
    """The limits at a ``share`` of everything that can be smaller; 1 is all there is."""
    sizes = capacities(engine)
    tile_lines = -(-engine.macs_per_cycle // LINE_BYTES)
    ring = max(int(engine.weight_ring_bytes * share) // LINE_BYTES, 2 * tile_lines)
    names = ("scores0", "queries", "hidden", "residual", "input")
    scores, queries, hidden, images, rows = (int(sizes[name] * share) for name in names)
    return TilingLimits(ring, scores, queries, hidden, images, rows, engine.accumulator_rows)


def blocks(rows: int, most: int) -> list[tuple[int, int]]:
    """(first, rows) of the fewest blocks of at most ``most`` rows, as equal as can be."""
    count = -(-rows // max(most, 1))
    ends = [rows * i // count for i in range(count + 1)]
    return [(a, b - a) for a, b in pairwise(ends)]
