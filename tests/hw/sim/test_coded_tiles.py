"""Loads of weights in 4 bits: cycles and ring bytes of each tile, by hand and against the bytes of a layer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgemtl.hw.geometry import weight_bytes
from edgemtl.hw.sim.cycle.tiles import Tiles, coded_tiles, depths, ring_tiles


def test_tiles_in_4_bits() -> None:
    """96 x 32 with a port of 128 bytes: what the formulas of docs/accelerator.md give by hand, k = 192 and n = 64."""
    tiles = coded_tiles((96, 96), 64, 32, 128, True, False)
    # 24 cycles of 128 unpacked bytes; in front of the first tile the table, bias and scales, and two groups.
    assert tiles.loads == (2 + 3 + 24, 24, 24, 24)
    # A tile of columns: 256 bytes of bias and scales; multipliers of rows 0 and 64, then of row 128; 1,536 of codes.
    assert tiles.needs == (256 + 1856, 256 + 3424, 256 + 3424 + 1856, 256 + 2 * 3424)
    assert tiles.loaded == 192 * 64
    # Of eight rows the port brings less in a cycle than the unpackers take: 256 + 32 + 128 bytes.
    assert coded_tiles((8,), 64, 32, 128, False, True) == Tiles((3 + 2, 4), (), 8 * 64)
    assert coded_tiles((96, 96), 64, 32, 128, True, False).needs[-1] == weight_bytes(32, 192, 64, 1, 1)


@given(st.integers(1, 500), st.integers(1, 99), st.sampled_from([(96, 32), (16, 16), (64, 48)]), st.booleans())
def test_tiles_in_4_bits_load_no_faster_than_in_8_and_bring_what_is_stored(k, n, array, table) -> None:
    rows, columns = array
    deep = depths(k, rows)
    coded, plain = (tiles(deep, n, columns, 2 * columns, table, False) for tiles in (coded_tiles, ring_tiles))
    assert coded.loaded == plain.loaded
    assert all(of >= -(-rows * columns // (2 * columns)) for of, rows in zip(coded.loads, deep * n, strict=False))
    assert coded.needs[-1] == weight_bytes(columns, k, n, table, 1)
    assert plain.needs[-1] == weight_bytes(columns, k, n, table, 0)
