"""Enlarged images as instructions of the vector unit, block by block of output rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.instructions import At
from edgemtl.codegen.fpga.networks import Of
from edgemtl.codegen.fpga.row_rings import RowRing
from edgemtl.codegen.fpga.rows import Part, one_ahead
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.streamed import block_limit, load_rows, row_bytes, store_rows
from edgemtl.hw.geometry import enlarged_from
from edgemtl.hw.isa_vector import FACTORS
from edgemtl.hw.law_weightless import TAP_BITS
from edgemtl.lowering.ir import View
from edgemtl.operators import Array

MOST_BLOCK_ROWS = 63
"""Most output rows of an instruction: the operand has 6 bits."""
EXACT_FACTOR = 4
"""Up to here the law rounds 16-bit values once: weights of rows have at most 3 fraction bits."""


@dataclass(frozen=True)
class Mode:
    """How an image is enlarged along both axes."""

    factor: int
    nearest: bool


def mode_of(resize: Of[ops.QBilinear] | Of[ops.QResample]) -> Mode | None:
    """The mode whose weights are those of a step, for every output row and column; None where there is none.

    Bilinear weights are multiples of 1 / (2 factor), which the fraction bits of taps hold: sums are exact, and so are
    the bits.
    """
    operator = resize.operator
    if isinstance(operator, ops.QBilinear):
        return Mode(2, nearest=False)
    arrays = resize.arrays()
    sizes = {"row": (operator.height, operator.out_height), "column": (operator.width, operator.out_width)}
    weights = {axis: dense_weights(arrays[f"{axis}_index"], arrays[f"{axis}_weight"], sizes[axis][0]) for axis in sizes}
    for mode in (Mode(factor, nearest) for factor in FACTORS for nearest in (False, True)):
        exact = operator.dtype == "int8" or mode.nearest or mode.factor <= EXACT_FACTOR
        fits = all(out == mode.factor * size for size, out in sizes.values())
        if exact and fits and all(np.array_equal(weights[axis], mode_weights(mode, sizes[axis][0])) for axis in sizes):
            return mode
    return None


def dense_weights(index: Array, weight: Array, size: int) -> Array:
    """Weights [out, size] of taps [out, taps]."""
    weights = np.zeros((len(index), size), np.int64)
    np.add.at(weights, (np.arange(len(index))[:, None], index), weight)
    return weights


def mode_weights(mode: Mode, size: int) -> Array:
    """The weights [factor * size, size] of an axis in a mode."""
    y = np.arange(mode.factor * size)
    if mode.nearest:
        return dense_weights((y // mode.factor)[:, None], np.full((len(y), 1), 1 << TAP_BITS), size)
    below, part = np.divmod(2 * y + 1 - mode.factor, 2 * mode.factor)
    index = np.stack([below, below + 1], 1).clip(0, size - 1)
    return dense_weights(
        index, np.stack([2 * mode.factor - part, part], 1) * (1 << TAP_BITS) // (2 * mode.factor), size
    )


@dataclass(frozen=True)
class SourceRows:
    """Rows of an image for blocks of an enlarged one: ``rings`` in turn, each loaded for a block, or one on chip."""

    site: Site
    x: View
    height: int
    on_chip: bool
    rings: tuple[RowRing, ...]

    def ring(self, index: int, lines: range) -> RowRing:
        """The rows of a block, on chip."""
        ring = self.rings[index % len(self.rings)]
        if not self.on_chip:
            for piece in ring.pieces(lines.start, lines.stop):
                stored, first = self.site.stored[self.x.buffer], lines.start * ring.width
                pixels = OnChipTensor(piece.at, piece.rows * ring.width, stored.width, self.x.itemsize, ring.stride)
                load_rows(self.site, stored, first, pixels)
                lines = lines[piece.rows :]
        return ring


def source_rows(site: Site, x: View, shape: tuple[int, int, int], most: int, count: int) -> SourceRows:
    """Rings of at most ``most`` rows for ``count`` blocks of an image of height, width and channels ``shape``."""
    height, width, channels = shape
    home = site.homes.get(x.buffer)
    if home is not None:
        site.settle_all(home)
        return SourceRows(site, x, height, True, (RowRing(home.at, height, width, home.stride),))
    stride = emit.granules(site.listing, channels) * x.itemsize
    buffers = (site.listing.buffer("source rows", "input", most * width * stride) for _ in range(min(count, 2)))
    return SourceRows(site, x, height, False, tuple(RowRing(At(buffer), most, width, stride) for buffer in buffers))


def emit_resize(site: Site, group: networks.ResizeGroup) -> None:
    """Blocks of output rows; the source rows of the next block are loaded while this one is computed."""
    operator, mode, y = group.resize.operator, mode_of(group.resize), group.resize["y"]
    assert mode is not None
    across = mode.factor * operator.width
    parts = row_blocks(site, mode.factor * operator.height, across * row_bytes(site, y, operator.channels))
    largest = parts[0][1]
    results = [
        make_tensor(site.listing, "rows", "residual", largest * across, operator.channels, y.itemsize)
        for _ in parts[:2]
    ]

    def enlarge(source: RowRing, part: Part, result: OnChipTensor) -> None:
        _enlarge(site, source, operator.height, mode, (*part, largest), result)

    shape = operator.height, operator.width, operator.channels
    lines = {part: enlarged_from(*part, operator.height, mode.factor, mode.nearest) for part in parts}
    stream_image(site, (group.resize["x"], y), shape, lines, results, enlarge)


def stream_image(
    site: Site,
    views: tuple[View, View],
    shape: tuple[int, int, int],
    lines: Mapping[Part, range],
    results: Sequence[OnChipTensor],
    work: Callable[[RowRing, Part, OnChipTensor], None],
) -> None:
    """Blocks of output rows of an image through ``work``, the source rows of the next one loaded meanwhile.

    views: source and result. shape: height, width and channels of the source. lines: the source rows of each block.
    results: room for the largest block, twice unless there is one block; each row of it is a row of the result.
    """
    (x, y), largest = views, max(rows for _, rows in lines)
    stored, row = site.reserve_rows(y, site.window_of(y), results[0].width), results[0].rows // largest
    sources = source_rows(site, x, shape, max(map(len, lines.values())), len(lines))
    numbers = {part: index for index, part in enumerate(lines)}
    for part, ring in one_ahead([*lines], lambda part: sources.ring(numbers[part], lines[part])):
        first, rows = part
        result = results[numbers[part] % 2].part(0, rows * row)
        work(ring, part, result)
        store_rows(site, stored, first * row, result)


def row_blocks(site: Site, rows: int, row: int) -> list[Part]:
    """Blocks of equal rows, but for the last one, of an image whose rows take ``row`` bytes."""
    size = min(max(block_limit(site) // row, 1), MOST_BLOCK_ROWS, rows)
    return [(first, min(size, rows - first)) for first in range(0, rows, size)]


def _enlarge(
    site: Site, source: RowRing, height: int, mode: Mode, block: tuple[int, int, int], result: OnChipTensor
) -> None:
    """ENLARGE of a block: its first row, its rows, and those of the largest block, by which rows are counted."""
    first, rows, wrap = block
    lines = enlarged_from(first, rows, height, mode.factor, mode.nearest)
    site.listing.append(
        "ENLARGE",
        {"src": source.at, "dst": result.at},
        source.touched(lines.start, lines.stop),
        (emit.rows_of(result),),
        operands=dict(
            src_wrap=source.wrap,
            width=source.width,
            height=height,
            stride=source.stride,
            first=first,
            rows=rows,
            dst_wrap=wrap,
            factor=mode.factor,
            nearest=int(mode.nearest),
            wide=result.itemsize - 1,
        ),
    )
