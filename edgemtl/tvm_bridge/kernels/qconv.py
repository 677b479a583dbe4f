"""Convolution of bytes, channels-last: blocks of padded rows, then register tiles of pixels by output channels.

A block of the rows that some output rows read is copied with its padding, so that no product tests a border; of the
copy, the values under one row of the window lie side by side and are one long sum: a run. A run that fills no whole
number of dot products reads what follows it, against weights of zero. The copy has the type that products take, so that
every byte is widened once, not for every tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QConv2d, QLinear
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import qconv_depthwise, qlinear
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    panels,
    tile_rows,
)
from edgemtl.tvm_bridge.kernels.int8_finish import TABLE_BYTES, OutputStage
from edgemtl.tvm_bridge.kernels.int8_tiles import (
    WORD,
    Sums,
    accumulate_factors,
    factor_type,
    first_word,
    group,
    pack_bias,
    pack_scale,
    pack_weight,
    packed_words,
    span,
    start_sums,
    steps,
)
from edgemtl.tvm_bridge.kernels.qconv_lines import LineBlock, Lines, cut_lines
from edgemtl.tvm_bridge.kernels.tiles import padded_width


def _as_linear(spec: QConv2d) -> QLinear | None:
    """The same as a matrix product, where every output pixel reads one pixel of its own."""
    if (spec.kernel, spec.stride, spec.pad, spec.groups) != ((1, 1), (1, 1), (0, 0, 0, 0), 1):
        return None
    return QLinear(spec.height * spec.width, spec.cin, spec.cout, spec.how, spec.table)


@dataclass(frozen=True)
class Runs:
    """The window's runs of values that lie side by side: how many a row of it has, and the values of each.

    depth: values of a run with those that meet weights of zero.
    """

    across: int
    values: int
    depth: int


def find_runs(spec: QConv2d, target: CpuTarget) -> Runs:
    """The runs of a convolution: without gaps between its columns each row of the window is one."""
    joined = spec.kernel[1] if spec.dilation[1] == 1 else 1
    values = joined * spec.cin
    return Runs(spec.kernel[1] // joined, values, steps(values, target) * group(target))


def pack(
    spec: QConv2d, target: CpuTarget, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight int8 [cout, cin, kh, kw], in panels over (kh, kw, channel); b int32 [cout], scale words and table."""
    linear = _as_linear(spec)
    if qconv_depthwise.is_depthwise(spec):
        return qconv_depthwise.pack(spec, target, weight, bias, scale, *table)
    if linear:
        return qlinear.pack(linear, target, weight.reshape(spec.cout, spec.cin).T, bias, scale, *table)
    runs = find_runs(spec, target)
    padded = np.zeros((spec.kernel[0] * runs.across, runs.depth, spec.cout), np.int8)
    padded[:, : runs.values] = weight.transpose(2, 3, 1, 0).reshape(-1, runs.values, spec.cout)
    rows = padded.reshape(-1, spec.cout)
    return pack_weight(rows, target), pack_bias(rows, bias, target), pack_scale(scale, target), *table


@cache
def build(spec: QConv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, scale[, lookup][, lines (workspace)], y."""
    linear = _as_linear(spec)
    if qconv_depthwise.is_depthwise(spec):
        return qconv_depthwise.build(_symbol(spec), spec, target)
    if linear:
        return qlinear.build(linear, target)
    block, runs = cut_lines(spec), find_runs(spec, target)
    products = spec.kernel[0] * runs.across * runs.depth
    columns, pixels = padded_width(spec.cout, target), spec.out_height * spec.out_width
    operands = [
        Operand("x", (spec.height * spec.width, spec.cin), "int8", "input"),
        Operand("weight", (packed_words(products, spec.cout, target),), "int32", "weight"),
        Operand("bias", (columns,), "int32", "weight"),
        Operand("scale", (columns,), "float32", "weight"),
        *([Operand("lookup", (TABLE_BYTES,), "int8", "weight")] if spec.table else []),
        # The last run reads behind the copy.
        Operand("lines", (target.threads, block.size + runs.depth - runs.values), factor_type(target), "workspace"),
        Operand("y", (pixels, spec.cout), spec.how.dtype, "output"),
    ]

    def body(x: Buffer, weight: Buffer, bias: Buffer, scale: Buffer, *rest: Buffer) -> None:
        flat = T.decl_buffer((spec.height * spec.width * spec.cin,), "int8", data=x.data)
        output = OutputStage(target, spec.how, rest[-1], rest[0] if spec.table else None)
        lines = Lines(spec, target, block, flat, rest[-2])
        lines.for_blocks(_QConv(spec, target, block, runs, weight, bias, scale, rest[-2], output).multiply)

    return define(_symbol(spec), operands, body)


def _symbol(spec: QConv2d) -> str:
    sizes = (
        spec.height,
        spec.width,
        spec.cin,
        spec.cout,
        *spec.kernel,
        *spec.stride,
        *spec.pad,
        *spec.dilation,
        spec.groups,
    )
    words = (*sizes, spec.zero, spec.how.dtype, spec.how.zero, spec.how.low, *(["table"] if spec.table else []))
    return "qconv_" + "_".join(map(str, words))


@dataclass(frozen=True)
class _QConv:
    """Emits one convolution; holds what every tile needs."""

    spec: QConv2d
    target: CpuTarget
    block: LineBlock
    runs: Runs
    weight: Buffer
    bias: Buffer
    scale: Buffer
    lines: Buffer
    output: OutputStage

    def multiply(self, part: Expr, row: Expr, rows: Expr) -> None:
        """All panels of ``rows`` output rows from ``row`` on."""
        column = 0
        for (width, valid), equal in groupby(panels(self.spec.cout, self.target)):
            count = len(list(equal))
            with T.serial(count) as panel, T.serial(rows) as index:
                for first, height, tiles in even_tiles(self.spec.out_width, tile_rows(width, self.target)):
                    with T.serial(tiles) as tile:
                        left = T.bind(first + tile * height)
                        self._tile(part, (index, row), left, height, (column + panel * width, width, valid))
            column += count * width

    def _tile(self, part: Expr, rows: tuple[Expr, Expr], left: Expr, height: int, panel: tuple[Expr, int, int]) -> None:
        """``height`` pixels from ``left`` on of an output row, given as a row of the block and of the image."""
        (index, row), (column, width, valid), target, spec = rows, panel, self.target, self.spec
        sums = start_sums(height, width, target, lambda at: lambda lane: self.bias[column + at + lane])
        self._accumulate(sums, width, part, index, left, column)
        pixel = T.bind((row + index) * spec.out_width + left)
        self.output.store(
            sums,
            valid,
            lambda at: self.scale[span(column + at, target.lanes)],
            lambda row, at: (pixel + row, column + at),
        )

    def _accumulate(self, sums: Sums, width: int, part: Expr, index: Expr, left: Expr, column: Expr) -> None:
        """Add the window's products, run by run."""
        spec, runs = self.spec, self.runs
        base = first_word(spec.kernel[0] * runs.across * runs.depth, column, self.target)
        with T.grid(spec.kernel[0], runs.across) as (ky, kx):
            line = index * spec.stride[0] + ky * spec.dilation[0]
            start = (line * self.block.columns + left * spec.stride[1] + kx * spec.dilation[1]) * spec.cin
            word = base + (ky * runs.across + kx) * (runs.depth * width // WORD)
            step = spec.stride[1] * spec.cin
            accumulate_factors(
                sums,
                runs.depth,
                self.target,
                lambda pixel, at, size: self.lines[part, span(start + pixel * step + at, size)],
                lambda at, size: self.weight[span(word + at, size)],
            )


def even_tiles(pixels: int, tall: int) -> Iterator[tuple[int, int, int]]:
    """(first, height, count) of tiles at most ``tall`` high over ``pixels``, heights one apart at most."""
    tiles = -(-pixels // tall)
    height, higher = divmod(pixels, tiles)
    if higher:
        yield 0, height + 1, higher
    yield higher * (height + 1), height, tiles - higher
