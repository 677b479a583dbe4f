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
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QConv2d, QLinear
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import qconv_depthwise, qlinear
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    Lane,
    define,
    for_columns,
    guarded,
    panels,
    parallel,
    tile_rows,
    vector_store,
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
from edgemtl.tvm_bridge.kernels.tiles import padded_width

# Output pixels that share one reading of a panel's weights, at least.
BLOCK_PIXELS = 128


def _as_linear(spec: QConv2d) -> QLinear | None:
    """The same as a matrix product, where every output pixel reads one pixel of its own."""
    if (spec.kernel, spec.stride, spec.pad, spec.groups) != ((1, 1), (1, 1), (0, 0, 0, 0), 1):
        return None
    return QLinear(spec.height * spec.width, spec.cin, spec.cout, spec.how, spec.table)


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of a block: its output rows, the rows and columns of its padded copy, and the window's runs in it.

    runs: how many, and the values of each. depth: values of a run with those that meet weights of zero.
    """

    rows: int
    lines: int
    columns: int
    channels: int
    runs: tuple[int, int]
    depth: int

    @property
    def size(self) -> int:
        """Values of the copy, and those that the last run reads behind it."""
        return self.lines * self.columns * self.channels + self.depth - self.runs[1]


def cut(spec: QConv2d, target: CpuTarget) -> BlockSizes:
    """How a convolution is cut into blocks. Without gaps between a window's columns each of its rows is one run."""
    rows = min(-(-BLOCK_PIXELS // spec.out_width), spec.out_height)
    lines, columns = (
        (count - 1) * stride + (size - 1) * step + 1
        for count, stride, size, step in zip(
            (rows, spec.out_width), spec.stride, spec.kernel, spec.dilation, strict=True
        )
    )
    joined = spec.kernel[1] if spec.dilation[1] == 1 else 1
    runs = spec.kernel[0] * spec.kernel[1] // joined, joined * spec.cin
    return BlockSizes(rows, lines, columns, spec.cin, runs, steps(runs[1], target) * group(target))


def pack(
    spec: QConv2d, target: CpuTarget, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight int8 [cout, cin, kh, kw], in panels over (kh, kw, channel); b int32 [cout], scale words and table."""
    linear = _as_linear(spec)
    if qconv_depthwise.is_depthwise(spec):
        return qconv_depthwise.pack(spec, target, weight, bias, scale, *table)
    if linear:
        return qlinear.pack(linear, target, weight.reshape(spec.cout, spec.cin).T, bias, scale, *table)
    plan = cut(spec, target)
    padded = np.zeros((plan.runs[0], plan.depth, spec.cout), np.int8)
    padded[:, : plan.runs[1]] = weight.transpose(2, 3, 1, 0).reshape(*plan.runs, spec.cout)
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
    plan = cut(spec, target)
    columns, pixels = padded_width(spec.cout, target), spec.out_height * spec.out_width
    operands = [
        Operand("x", (spec.height * spec.width, spec.cin), "int8", "input"),
        Operand("weight", (packed_words(plan.runs[0] * plan.depth, spec.cout, target),), "int32", "weight"),
        Operand("bias", (columns,), "int32", "weight"),
        Operand("scale", (columns,), "float32", "weight"),
        *([Operand("lookup", (TABLE_BYTES,), "int8", "weight")] if spec.table else []),
        Operand("lines", (target.threads, plan.size), factor_type(target), "workspace"),
        Operand("y", (pixels, spec.cout), spec.how.dtype, "output"),
    ]

    def body(x: Buffer, weight: Buffer, bias: Buffer, scale: Buffer, *rest: Buffer) -> None:
        flat = T.decl_buffer((spec.height * spec.width * spec.cin,), "int8", data=x.data)
        output = OutputStage(target, spec.how, rest[-1], rest[0] if spec.table else None)
        _QConv(spec, target, plan, flat, weight, bias, scale, rest[-2], output).emit()

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
    cut: BlockSizes
    x: Buffer
    weight: Buffer
    bias: Buffer
    scale: Buffer
    lines: Buffer
    output: OutputStage

    def emit(self) -> None:
        """Shares of the output's rows, block by block."""
        spec, threads, rows = self.spec, self.target.threads, self.cut.rows
        with parallel(threads) as part, guarded(part < threads):
            first = T.bind(part * spec.out_height // threads)
            count = T.bind((part + 1) * spec.out_height // threads - first)
            with T.serial((count + rows - 1) // rows) as block:
                row = T.bind(first + block * rows)
                self._copy(part, row * spec.stride[0] - spec.pad[0])
                self._multiply(part, row, tirx.min(count - block * rows, rows))

    def _copy(self, part: Expr, top: Expr) -> None:
        """The lines from ``top`` of the image on, with padding around them."""
        spec, plan = self.spec, self.cut
        left = min(spec.pad[1], plan.columns)
        inside = min(spec.width, plan.columns - left)
        with T.serial(plan.lines) as index:
            line = T.bind(top + index)
            with T.If(tirx.all(line >= 0, line < spec.height)):
                with T.Then():
                    self._pad(part, index, 0, left)
                    self._copy_line(part, index, line, left, inside)
                    self._pad(part, index, left + inside, plan.columns - left - inside)
                with T.Else():
                    self._pad(part, index, 0, plan.columns)

    def _pad(self, part: Expr, index: Expr, column: int, count: int) -> None:
        if count:
            start = (index * self.cut.columns + column) * self.spec.cin
            zero = tirx.const(self.spec.zero, self.lines.dtype)
            self._fill(part, start, count * self.spec.cin, lambda at: zero)

    def _copy_line(self, part: Expr, index: Expr, line: Expr, left: int, count: int) -> None:
        start = T.bind((index * self.cut.columns + left) * self.spec.cin)
        source = T.bind(line * (self.spec.width * self.spec.cin))
        self._fill(part, start, count * self.spec.cin, lambda at: self.x[source + at].astype(self.lines.dtype))

    def _fill(self, part: Expr, start: Expr, count: int, value: Lane) -> None:
        """``count`` values of the copy from ``start`` on."""

        def piece(width: int, first: Expr) -> None:
            vector_store(self.lines, width, lambda lane: value(first + lane), lambda lane: (part, start + first + lane))

        for_columns(count, self.target, piece)

    def _multiply(self, part: Expr, row: Expr, rows: Expr) -> None:
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
        spec, plan = self.spec, self.cut
        count, _ = plan.runs
        across = count // spec.kernel[0]
        base = first_word(count * plan.depth, column, self.target)
        with T.grid(spec.kernel[0], across) as (ky, kx):
            line = index * spec.stride[0] + ky * spec.dilation[0]
            start = (line * plan.columns + left * spec.stride[1] + kx * spec.dilation[1]) * spec.cin
            word = base + (ky * across + kx) * (plan.depth * width // WORD)
            step = spec.stride[1] * spec.cin
            accumulate_factors(
                sums,
                plan.depth,
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
