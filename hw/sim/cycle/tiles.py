"""Tiles of an instruction of the matrix unit: cycles to load each, and the ring bytes that it needs first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

from edgemtl.hw.geometry import COLUMN_BYTES, TABLE_BYTES, groups_in


@dataclass(frozen=True)
class Tiles:
    """Tiles in the order of the array; two that it works on at once count as one.

    loads: cycles to load each into the array. needs: for each, the bytes from the instruction's offset in the ring that
    must have arrived, () for weights of a region. loaded: bytes that enter the array in total.
    """

    loads: tuple[int, ...]
    needs: tuple[int, ...]
    loaded: int


NONE: Final = Tiles((), (), 0)
"""An instruction without work."""


def up(value: int, unit: int) -> int:
    """value / unit, rounded up."""
    return -(-value // unit)


def depths(k: int, rows: int) -> tuple[int, ...]:
    """Bytes of each pass of ``k`` bytes through ``rows`` rows of the array: all but the last one are full."""
    return tuple(min(rows, k - first) for first in range(0, k, rows))


def conv_depths(channels: int, rows: int, taps: int, together: int, ratio: int) -> tuple[int, ...]:
    """Rows of each pass of a convolution of ``taps``, of which ``together`` share a tile.

    Taps in order, for each ``ratio`` groups of channels a pass.
    """
    return tuple(together * group for group in depths(channels, rows // together * ratio)) * (taps // together)


def _with_more_at_first(loads: list[int], cycles: int) -> list[int]:
    """Loads of which the first, if there is one, takes some cycles more."""
    return [loads[0] + cycles, *loads[1:]] if loads else []


@lru_cache(maxsize=1024)
def ring_tiles(deep: tuple[int, ...], n: int, columns: int, width: int, table: bool, cached: bool) -> Tiles:
    """Tiles of weights of the ring for ``n`` columns, loaded ``width`` bytes a cycle; cached ones need no bytes.

    The first tile of each tile of columns loads bias and scales through the same port, the first of all the table.
    """
    of_columns = [rows * columns for rows in deep]
    before = _with_more_at_first([0] * len(deep), COLUMN_BYTES * columns)
    loads = [up(size, width) + up(more, width) for size, more in zip(of_columns, before, strict=True)]
    loads = _with_more_at_first(loads * up(n, columns), up(TABLE_BYTES * table, width))
    stored = tuple(map(sum, zip(before, of_columns, strict=True)))
    return Tiles(
        tuple(loads), () if cached else _needs(stored, up(n, columns), table), sum(of_columns) * up(n, columns)
    )


@lru_cache(maxsize=1024)
def coded_tiles(deep: tuple[int, ...], n: int, columns: int, width: int, table: bool, cached: bool) -> Tiles:
    """The same for weights in 4 bits, unpacked ``width`` a cycle.

    Codes take half of the port. In the other half it reads ahead what lies in front of the next tile's codes:
    multipliers, bias and scales. Only the first tile of all waits for these, and for the table.
    """
    of_columns = [rows * columns for rows in deep]
    groups = (groups_in(sum(deep[:index]), rows) for index, rows in enumerate(deep))
    before = _with_more_at_first([columns * count for count in groups], COLUMN_BYTES * columns)
    stored = tuple(more + size // 2 for more, size in zip(before, of_columns, strict=True))
    first = [up(part, width) for part in (TABLE_BYTES * table, *before[:1], *of_columns[:1])]
    loads = [up(max(pair), width) for pair in zip(of_columns, stored, strict=True)] * up(n, columns)
    loads[:1] = [sum(first)] if loads else []
    return Tiles(
        tuple(loads), () if cached else _needs(stored, up(n, columns), table), sum(of_columns) * up(n, columns)
    )


def _needs(stored: tuple[int, ...], count: int, table: bool) -> tuple[int, ...]:
    """The ends of all tiles behind the table, of ``count`` tiles of columns with so many bytes for each tile of k."""
    return tuple(accumulate(stored * count, initial=TABLE_BYTES * table))[1:]


@lru_cache(maxsize=1024)
def region_tiles(deep: tuple[int, ...], n: int, columns: int, width: int, fill: int, at_once: int) -> Tiles:
    """Tiles of weights of a region that is read ``width`` bytes a cycle; the first one takes ``fill`` cycles more.

    The array takes ``at_once`` tiles of columns in a pass, the last pass those that remain.
    """
    count = up(n, columns)
    passes = [up(rows * columns * tiles, width) for tiles in depths(count, at_once) for rows in deep]
    return Tiles(tuple(_with_more_at_first(passes, fill)), (), sum(deep) * columns * count)
