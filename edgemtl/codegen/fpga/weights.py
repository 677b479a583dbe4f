"""Weights in the order the matrix unit reads them from its ring, and constants as the vector unit reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from edgemtl.hw.arith import SHIFT_RANGE, encode_scale, pack_scale
from edgemtl.hw.geometry import weight_lines
from edgemtl.hw.isa import CODED_WEIGHTS, INT8_WEIGHTS, LINE_BYTES
from edgemtl.hw.law_weights4 import GROUP, pack_codes
from edgemtl.hw.spec import Engine
from edgemtl.operators import Array

Arrays = Mapping[str, Array]
"""A layer's constants by name."""
EMPTY_SCALE = int(pack_scale(0, SHIFT_RANGE[0]))
"""The packed scale of a padding column: its results are 0."""


def linear_weights(engine: Engine, layer: Arrays, columns: slice = slice(None)) -> bytes:
    """Whole lines of the chosen columns of weight int8 [k, n], bias and scale int32 [n], and the table if any.

    A layer in 4 bits has codes int8 [k, n] and multipliers int8 [groups of rows, n] instead of the weight.
    """
    q, p = engine.array_columns, engine.array_rows
    if is_coded(layer):
        kernel = _coded_kernel(engine, layer["codes"][:, columns], layer["multipliers"][:, columns])
    else:
        weight = layer["weight"][:, columns]
        kernel = _int8_kernel([weight[at : at + p] for at in range(0, len(weight), p)], q)
    return _stacked(q, kernel, layer, columns)


def identity_layer(n: int) -> dict[str, Array]:
    """A layer of n channels that gives the bytes it reads: a scale of 1 has an exact multiplier."""
    scale = np.full(n, pack_scale(*encode_scale(1.0)), np.int32)
    return {"weight": np.eye(n, dtype=np.int8), "bias": np.zeros(n, np.int32), "scale": scale}


def is_coded(layer: Arrays) -> bool:
    """Whether a layer's weights are in 4 bits."""
    return "codes" in layer


def expert_lines(
    engine: Engine, k: int, hidden: int, n: int, tables: tuple[bool, bool], coded: tuple[bool, bool] = (False, False)
) -> int:
    """Lines of an expert whose layers take ``k`` to ``hidden`` to ``n`` channels."""
    shapes = zip((k, hidden), (hidden, n), tables, coded, strict=True)
    return sum(layer_lines(engine, *shape) for shape in shapes)


def layer_lines(engine: Engine, k: int, n: int, table: bool, coded: bool = False) -> int:
    """Lines of a layer of ``k`` to ``n`` channels."""
    return weight_lines(engine.array_columns, k, n, table, CODED_WEIGHTS if coded else INT8_WEIGHTS)


def conv_weights(engine: Engine, layer: Arrays, kernel: Array, together: int, columns: slice = slice(None)) -> bytes:
    """Whole lines of ``kernel`` int8 [columns, k, kh, kw], bias and scale of the columns, and the table if any.

    together: horizontal taps that share a tile.
    """
    tiles = list(_conv_tiles(kernel, together, engine.array_rows // together))
    return _stacked(engine.array_columns, _int8_kernel(tiles, engine.array_columns), layer, columns)


def dense_kernel(weight: Array, groups: int, columns: slice, channels: slice) -> Array:
    """int8 [columns, channels, kh, kw] of weight int8 [n, k / groups, kh, kw]: zeros between two groups.

    ``channels`` are all that the groups of the columns read, and perhaps others.
    """
    cout, cin = len(weight) // groups, weight.shape[1]
    sizes = columns.stop - columns.start, channels.stop - channels.start
    kernel = np.zeros((*sizes, *weight.shape[2:]), np.int8)
    for group in range(columns.start // cout, -(-columns.stop // cout)):
        first, last = max(group * cout, columns.start), min((group + 1) * cout, columns.stop)
        at = group * cin - channels.start
        kernel[first - columns.start : last - columns.start, at : at + cin] = weight[first:last]
    return kernel


def _conv_tiles(weight: Array, together: int, group: int) -> Iterator[Array]:
    """[rows, n] of every tile: vertical tap, then horizontal tap or taps, then ``group`` channels."""
    count, channels, height, width = weight.shape
    for dy in range(height):
        for dx in range(0, width, together):
            for at in range(0, channels, group):
                part = weight[:, at : at + group, dy, dx : dx + together]
                yield part.transpose(2, 1, 0).reshape(-1, count)


def _int8_kernel(tiles: Sequence[Array], q: int) -> Iterator[bytes]:
    """For each tile of q columns, the rows of all tiles of k [rows, n]."""
    for at in range(0, tiles[0].shape[1], q):
        yield b"".join(_padded(tile[:, at : at + q].astype(np.int8), q, 0).tobytes() for tile in tiles)


def _coded_kernel(engine: Engine, codes: Array, multipliers: Array) -> Iterator[bytes]:
    """For each tile of columns and each of k, the multipliers of the groups that begin in it, then codes row by row."""
    q, k = engine.array_columns, len(codes)
    ends = [min(end, k) for end in range(0, k + engine.array_rows, engine.array_rows)]
    for at in range(0, codes.shape[1], q):
        part, groups = (_padded(values[:, at : at + q].astype(np.int8), q, 0) for values in (codes, multipliers))
        # A pair of columns shares a byte, the even one in its low half.
        packed = pack_codes(part.T).T
        pieces = (
            groups[-(-first // GROUP) : -(-end // GROUP)].tobytes() + packed[first:end].tobytes()
            for first, end in pairwise(ends)
        )
        yield b"".join(pieces)


def _stacked(q: int, kernel: Iterable[bytes], layer: Arrays, chosen: slice) -> bytes:
    """Table, then per tile of q columns bias, scale and weights; ``kernel`` has only the chosen columns."""
    bias, scale = layer["bias"][chosen], layer["scale"][chosen]
    pieces = [layer["table"].astype(np.int8).tobytes()] if "table" in layer else []
    for at, weights in zip(range(0, len(bias), q), kernel, strict=True):
        columns = slice(at, at + q)
        pieces.append(_padded(bias[columns].astype(np.int32), q, 0).tobytes())
        pieces.append(_padded(scale[columns].astype(np.int32), q, EMPTY_SCALE).tobytes())
        pieces.append(weights)
    return whole_lines(b"".join(pieces))


def _padded(values: Array, columns: int, fill: int) -> Array:
    missing = columns - values.shape[-1]
    widths = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
    return np.pad(values, widths, constant_values=fill)


def norm_constants(engine: Engine, halvings: Array, offset: Array) -> bytes:
    """Halvings and offsets int8 [width], each from a granule on."""
    return b"".join(_padded(part.astype(np.int8), pitch(engine, len(part)), 0).tobytes() for part in (halvings, offset))


def route_constants(experts: int, candidates: tuple[int, ...], prefetched: tuple[int, ...]) -> bytes:
    """A bit for each of 256 logits, then the numbers of the prefetched candidates, a byte each."""
    mask = sum(1 << expert for expert in candidates)
    return mask.to_bytes(32, "little") + bytes(prefetched)


def rows_constants(engine: Engine, rows: Array) -> bytes:
    """Rows int16 [rows, width], each from a line on and in whole granules."""
    wide = 2 * pitch(engine, rows.shape[1])
    line = -(-wide // LINE_BYTES) * LINE_BYTES
    return b"".join(row.astype("<i2").tobytes().ljust(line, b"\0") for row in rows)


def pitch(engine: Engine, width: int) -> int:
    """Bytes of a row of ``width`` bytes in whole granules."""
    return -(-width // engine.array_columns) * engine.array_columns


def whole_lines(content: bytes) -> bytes:
    """The same with zeros up to a whole line."""
    return content.ljust(-(-len(content) // LINE_BYTES) * LINE_BYTES, b"\0")
