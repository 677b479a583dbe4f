"""3x3 convolution of bytes by Winograd's algorithm, with the bits of the integer law.

As in `winograd`, a block of tiles at a time: transform the windows, one matrix product per place in the window and
group of output channels, transform back. The products are pairs of 16 bits in sums of 32 that may wrap;
`qwinograd_math` says why every result is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QWinograd
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel
from edgemtl.tvm_bridge.kernels.int8_finish import TABLE_BYTES, OutputStage
from edgemtl.tvm_bridge.kernels.int8_tiles import SIGN, Sums, has_biased_sums, pack_scale, span
from edgemtl.tvm_bridge.kernels.qwinograd_math import INVERSE, LOST_BITS, input_row, output_row
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from edgemtl.tvm_bridge.kernels.vectors import add_pair_products, constant, for_vectors, load, spread, store, wrapping
from edgemtl.tvm_bridge.kernels.winograd_cut import ChannelGroup, WinogradCut, cut, window_length
from edgemtl.tvm_bridge.kernels.winograd_math import PLACES, TILE, WINDOW
from edgemtl.tvm_bridge.kernels.winograd_stages import Following, tiled_steps, vectors

ZERO = (0,)


def pack(
    spec: QWinograd, target: CpuTarget, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Bias int32 [cout] as sums start with it, the scale words and the table."""
    start = bias.astype(np.int64) + (SIGN if has_biased_sums(target) else 0)
    padded = np.zeros(padded_width(spec.cout, target), np.int32)
    padded[: spec.cout] = (start & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return padded, pack_scale(scale, target), *table


@cache
def build(spec: QWinograd, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, transformed, bias, scale[, lookup], windows, products (workspaces), y.

    ``transformed`` is the result of QWinogradWeights's kernel.
    """
    plan, columns = cut(spec, target), padded_width(spec.cout, target)
    channels, parts = 2 * -(-spec.cin // 2), target.threads
    operands = [
        Operand("x", (spec.height * spec.width, spec.cin), "int8", "input"),
        Operand("transformed", (PLACES * channels * columns,), "int16", "input"),
        Operand("bias", (columns,), "int32", "weight"),
        Operand("scale", (columns,), "float32", "weight"),
        *([Operand("lookup", (TABLE_BYTES,), "int8", "weight")] if spec.table else []),
        Operand("windows", (parts, plan.block, PLACES, window_length(spec)), "int16", "workspace"),
        Operand("products", (parts, plan.block, PLACES, plan.groups[0].columns), "int32", "workspace"),
        Operand("y", (spec.height * spec.width, spec.cout), spec.how.dtype, "output"),
    ]

    def body(x: Buffer, transformed: Buffer, bias: Buffer, scale: Buffer, *rest: Buffer) -> None:
        *lookup, windows, products, y = rest
        output = OutputStage(target, spec.how, y, lookup[0] if lookup else None)
        _QWinograd(spec, target, plan, x, transformed, bias, scale, windows, products, output).emit()

    words = spec.height, spec.width, spec.cin, spec.cout, spec.zero, spec.how.dtype, spec.how.zero, spec.how.low
    return define("qwinograd_" + "_".join(map(str, (*words, *(["table"] if spec.table else [])))), operands, body)


class _Axis:
    """Where the samples of a window lie along one axis; by place the mask, 0 or -1, of those that may be padding."""

    def __init__(self, tile: Expr, tiles: int, size: int) -> None:
        self.at = [T.bind(tirx.max(tirx.min(tile * TILE + q - 1, size - 1), 0)) for q in range(WINDOW)]
        # The first of six samples is padding in the first tile, the one right behind the image in the last.
        ends = {0: 0, size + 1 - TILE * (tiles - 1): tiles - 1}
        self.masks = {place: T.bind(_short(tirx.if_then_else(tile == end, 0, -1))) for place, end in ends.items()}


def _short(value: Expr) -> Expr:
    return tirx.Cast("int16", value)


@dataclass(frozen=True)
class _QWinograd:
    """Emits one convolution; holds what every stage needs."""

    spec: QWinograd
    target: CpuTarget
    cut: WinogradCut
    x: Buffer
    transformed: Buffer
    bias: Buffer
    scale: Buffer
    windows: Buffer
    products: Buffer
    output: OutputStage

    def emit(self) -> None:
        """Shares of the blocks, or all blocks for a share of the output channels."""
        threads, blocks = self.target.threads, self.cut.blocks
        with parallel(threads) as part, guarded(part < threads):
            if self.cut.by_groups:
                with T.serial(blocks) as block:
                    self._block(part, block)
            else:
                first = T.bind(part * blocks // threads)
                with T.serial((part + 1) * blocks // threads - first) as index:
                    self._block(part, first + index)

    def _block(self, part: Expr, block: Expr) -> None:
        self._read_windows(part, block)
        column = 0
        for group, equal in groupby(self.cut.groups):
            count = len(list(equal))
            own = count // self.target.threads if self.cut.by_groups else count
            start = part * own if self.cut.by_groups else i32(0)
            with T.serial(own) as index:
                first = T.bind(column + (start + index) * group.columns)
                self._multiply(part, first, group)
                self._write_outputs(part, block, first, group.valid)
            column += count * group.columns

    def _place(self, block: Expr, tile: Expr) -> tuple[Expr, Expr]:
        """Row and column of a tile of a block; past the last tile of the image it is that one again."""
        index = T.bind(tirx.min(block * self.cut.block + tile, self.cut.tiles - 1))
        return T.bind(tirx.floordiv(index, self.cut.across)), T.bind(tirx.floormod(index, self.cut.across))

    def _read_windows(self, part: Expr, block: Expr) -> None:
        """B^T d B of every tile of the block."""
        with T.serial(self.cut.block) as tile:
            down, across = self._place(block, tile)
            rows = _Axis(down, self.cut.down, self.spec.height)
            columns = _Axis(across, self.cut.across, self.spec.width)

            def window(lanes: int, first: Expr) -> None:
                def times(value: Expr, factor: int) -> Expr:
                    return value * constant(factor, "int16", lanes)

                def transform(values: Sequence[Expr]) -> list[Expr]:
                    return [T.bind(value) for value in input_row(values, times)]

                samples = [
                    [T.bind(self._sample(rows, columns, i, j, first, lanes)) for i in range(WINDOW)]
                    for j in range(WINDOW)
                ]
                halves = [transform(column) for column in samples]
                for i in range(WINDOW):
                    for j, value in enumerate(transform([half[i] for half in halves])):
                        store(self.windows, (part, tile, i * WINDOW + j, first), lanes, value)

            for_vectors(self.spec.cin, 2 * self.target.lanes, window)

    def _sample(self, rows: _Axis, columns: _Axis, i: int, j: int, first: Expr, lanes: int) -> Expr:
        """Channels of one pixel of a window, or what pads."""
        pixel = rows.at[i] * self.spec.width + columns.at[j]
        value = tirx.Cast(f"int16x{lanes}" if lanes > 1 else "int16", load(self.x, (pixel, first), lanes))
        masks = [line.masks[place] for line, place in ((rows, i), (columns, j)) if place in line.masks]
        if not masks:
            return value
        mask = masks[0] if len(masks) == 1 else masks[0] & masks[1]
        padding = tirx.const(self.spec.zero, "int16") & ~mask
        return (value & spread(mask, lanes)) | spread(padding, lanes)

    def _multiply(self, part: Expr, column: Expr, group: ChannelGroup) -> None:
        """The products of one group of output channels, place by place."""
        channels = 2 * -(-self.spec.cin // 2)
        with T.grid(PLACES, group.panels) as (place, panel):
            base = T.bind(((column + panel * group.width) * PLACES + place * group.width) * channels)
            with T.serial(self.cut.block // self.cut.tall) as index:
                sums = self._sums(part, index, place, base, group.width)
                for row, totals in enumerate(sums):
                    for at, total in enumerate(totals):
                        goal = (part, index * self.cut.tall + row, place, panel * group.width + at * self.target.lanes)
                        store(self.products, goal, self.target.lanes, load(total, ZERO, self.target.lanes))

    def _sums(self, part: Expr, index: Expr, place: Expr, base: Expr, width: int) -> Sums:
        """One register tile: tiles of the image by output channels, over all pairs of input channels."""
        lanes, tall = self.target.lanes, self.cut.tall
        sums = [[local(lanes, "int32") for _ in range(width // lanes)] for _ in range(tall)]
        for total in (total for row in sums for total in row):
            store(total, ZERO, lanes, constant(0, "int32", lanes))
        pairs = -(-self.spec.cin // 2)

        def products(begin: Expr, count: int) -> None:
            with T.serial(count) as step:
                self._add_pair(sums, (part, index * tall, place), begin + step, base, width)

        size = 2 * pairs * width
        tiled_steps(self.cut, pairs, index, Following(self.transformed, base + size, size), products)
        return sums

    def _add_pair(self, sums: Sums, at: tuple[Expr, Expr, Expr], pair: Expr, base: Expr, width: int) -> None:
        """The products of a pair of input channels, for every tile of the image from one on."""
        (part, tile, place), lanes = at, self.target.lanes
        first = base + pair * (2 * width)
        weights = [T.bind(load(self.transformed, (first + 2 * at,), 2 * lanes)) for at in range(0, width, lanes)]
        for row, totals in enumerate(sums):
            word = load(self.windows, (part, tile + row, place, 2 * pair), 2)
            everywhere = T.Broadcast(tirx.reinterpret("int32", word), lanes)
            values = T.bind(tirx.reinterpret(f"int16x{2 * lanes}", everywhere))
            for total, weight in zip(totals, weights, strict=True):
                added = add_pair_products(load(total, ZERO, lanes), values, weight, self.target)
                store(total, ZERO, lanes, added)

    def _write_outputs(self, part: Expr, block: Expr, column: Expr, valid: int) -> None:
        """A^T M A of every tile for one group, divided and finished by the law."""
        with T.serial(self.cut.block) as tile:
            down, across = self._place(block, tile)

            def outputs(first: Expr, count: int) -> None:
                halves = [
                    self._transform([self._product(part, tile, i, j, first) for i in range(WINDOW)])
                    for j in range(WINDOW)
                ]
                for i in range(TILE):
                    for j, value in enumerate(self._transform([half[i] for half in halves])):
                        self._store_pixel((down, across), (i, j), (column + first, count), value)

            vectors(valid, self.target.lanes, outputs)

    def _product(self, part: Expr, tile: Expr, i: int, j: int, first: Expr) -> Expr:
        return T.bind(load(self.products, (part, tile, i * WINDOW + j, first), self.target.lanes))

    def _transform(self, places: Sequence[Expr]) -> list[Expr]:
        lanes = self.target.lanes
        add, subtract = (lambda a, b, name=name: wrapping(name, a, b, lanes) for name in ("add", "sub"))
        rows = output_row(places, add, subtract, lambda value, bits: value << constant(bits, "int32", lanes))
        return [T.bind(row) for row in rows]

    def _store_pixel(
        self, tile: tuple[Expr, Expr], within: tuple[int, int], channels: tuple[Expr, int], value: Expr
    ) -> None:
        """Finish a vector of one pixel, if the pixel is in the image; ``channels``: the first, and how many exist."""
        spec, lanes, (first, count) = self.spec, self.target.lanes, channels
        row, column = (place * TILE + offset for place, offset in zip(tile, within, strict=True))
        sizes = zip((row, column), (spec.height, spec.width), within, strict=True)
        tests = [at < size for at, size, offset in sizes if 0 < size % TILE <= offset]
        with guarded(tirx.all(*tests) if tests else i32(0) < i32(1)):
            exact = wrapping("mul", value, constant(INVERSE, "int32", lanes), lanes) >> constant(
                LOST_BITS, "int32", lanes
            )
            total = local(lanes, "int32")
            store(total, ZERO, lanes, wrapping("add", exact, load(self.bias, (first,), lanes), lanes))
            self.output.store(
                [[total]],
                count,
                lambda at: self.scale[span(first + at, lanes)],
                lambda _, at: (row * spec.width + column, first + at),
            )
