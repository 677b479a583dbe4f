"""Depthwise convolution of bytes where the processor adds products of pairs of int16: x86.

Two rows of the padded image lie interleaved, channel by channel and in 16 bits, so that one product takes two taps of a
column. An output row begins at either row of a pair: each has packed weights of its own, zeros for rows outside of its
window. Some vectors of channels of a block of rows are copied at a time, so that the copy stays in the nearest cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QConv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel, within
from edgemtl.tvm_bridge.kernels.exact_scaling import (
    MOST_PRODUCTS,
    channel_start,
    channel_starts,
    in_order,
    load_scaling,
    pack_scaling,
    packed_bytes,
    scaled_words,
)
from edgemtl.tvm_bridge.kernels.int8_finish import TABLE_BYTES, looked_up
from edgemtl.tvm_bridge.kernels.vectors import add_pair_products, constant, load, spread, store

# Neighbouring pixels that share one reading of the weights.
PIXELS = 4
# Bytes that a copy may have, and bytes of a pixel's channels that are copied at a time.
COPY_BYTES, GROUP_BYTES = 32 * 1024, 32
AT = (0,)


def multiplying(spec: QConv2d, target: CpuTarget) -> CpuTarget | None:
    """The target whose registers the channels fill: narrower ones for few channels, None for fewer still."""
    if target.vector_bits < 256 or spec.kernel[0] * spec.kernel[1] > MOST_PRODUCTS:
        return None
    if spec.cin >= 2 * target.lanes:
        return target
    narrow = replace(target, vector_bits=256, byte_instructions=False)
    return narrow if spec.cin >= 2 * narrow.lanes else None


@dataclass(frozen=True)
class _Cut:
    """How a convolution is cut: vectors of channels, phases of rows, blocks of output rows and of their input."""

    spec: QConv2d
    lanes: int

    @property
    def vectors(self) -> int:
        """Vectors of channels."""
        return -(-self.spec.cin // (2 * self.lanes))

    @property
    def group(self) -> int:
        """Vectors that are copied at a time, in groups of equal sizes."""
        groups = -(-self.vectors // max(GROUP_BYTES // (2 * self.lanes), 1))
        return -(-self.vectors // groups)

    @property
    def phases(self) -> int:
        """Rows of a pair at which windows begin: with an even stride the first alone."""
        return 1 if self.spec.stride[0] % 2 == 0 else 2

    @cached_property
    def rows(self) -> int:
        """Output rows of a block: as many as the copy holds, and about the same in every block."""
        height, phases = self.spec.out_height, self.phases
        fitting = [rows for rows in range(phases, height + 1, phases) if self._bytes(rows) <= COPY_BYTES]
        blocks = -(-height // max(fitting, default=phases))
        return min(-(-height // (blocks * phases)) * phases, height)

    def _bytes(self, rows: int) -> int:
        return int(self.pairs_of(rows)) * self.columns * self.group * 8 * self.lanes

    def pairs_of(self, rows: Expr) -> Expr:
        """Pairs of input rows of a block of output rows."""
        spec = self.spec
        return ((rows - 1) * spec.stride[0] + (spec.kernel[0] - 1) * spec.dilation[0]) // 2 + 1

    @property
    def columns(self) -> int:
        """Columns of a block."""
        spec = self.spec
        return (spec.out_width - 1) * spec.stride[1] + (spec.kernel[1] - 1) * spec.dilation[1] + 1

    @property
    def size(self) -> int:
        """Values of the copy of a group."""
        return int(self.pairs_of(self.rows)) * self.columns * self.group * 4 * self.lanes

    @cached_property
    def windows(self) -> list[list[int]]:
        """By phase: the pairs that a window reads."""
        taps = [ky * self.spec.dilation[0] for ky in range(self.spec.kernel[0])]
        return [sorted({(phase + tap) // 2 for tap in taps}) for phase in range(self.phases)]

    @property
    def weights(self) -> int:
        """Packed weights of a vector of channels."""
        return sum(map(len, self.windows)) * self.spec.kernel[1] * 4 * self.lanes

    def first_weight(self, phase: int) -> int:
        """Where a phase begins among them."""
        return sum(map(len, self.windows[:phase])) * self.spec.kernel[1] * 4 * self.lanes


def pack(
    spec: QConv2d, target: CpuTarget, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight [channels, 1, kh, kw] as int16 [vectors, (phase, kx, pair), channels of a vector, 2], and the scaling."""
    cut = _Cut(spec, target.lanes)
    channels = np.array([np.arange(first, first + 2 * cut.lanes) for first in channel_starts(spec.cin, cut.lanes)])
    taps = weight[channels, 0].astype(np.int16)
    parts = []
    for phase, window in enumerate(cut.windows):
        for kx in range(spec.kernel[1]):
            for pair in window:
                sides = [_row_of_taps(spec, taps[..., kx], 2 * pair + side - phase) for side in range(2)]
                parts.append(np.stack(sides, -1).reshape(cut.vectors, -1))
    return np.concatenate(parts, 1).ravel(), *pack_scaling(bias, scale, spec.how, channels), *table


def _row_of_taps(spec: QConv2d, taps: np.ndarray, row: int) -> np.ndarray:
    """Of taps [.., kh] those that meet a window's ``row``; zeros where there are none."""
    tap, between = divmod(row, spec.dilation[0])
    return taps[..., tap] if not between and 0 <= tap < spec.kernel[0] else np.zeros_like(taps[..., 0])


def build(symbol: str, spec: QConv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, added, factors[, lookup], lines (workspace), y."""
    cut = _Cut(spec, target.lanes)
    words = cut.vectors * 4 * cut.lanes
    operands = [
        Operand("x", (spec.height * spec.width, spec.cin), "int8", "input"),
        Operand("weight", (cut.vectors * cut.weights,), "int16", "weight"),
        Operand("added", (words,), "int32", "weight"),
        Operand("factors", (2 * words,), "int32", "weight"),
        *([Operand("lookup", (TABLE_BYTES,), "int8", "weight")] if spec.table else []),
        Operand("lines", (target.threads, cut.size), "int16", "workspace"),
        Operand("y", (spec.out_height * spec.out_width, spec.cin), spec.how.dtype, "output"),
    ]

    def body(x: Buffer, weight: Buffer, added: Buffer, factors: Buffer, *rest: Buffer) -> None:
        flat = T.decl_buffer((spec.height * spec.width * spec.cin,), "int8", data=x.data)
        lookup = rest[0] if spec.table else None
        _Depthwise(spec, target, cut, flat, weight, (added, factors), lookup, rest[-2], rest[-1]).emit()

    return define(symbol, operands, body)


@dataclass(frozen=True)
class _Depthwise:
    """Emits one convolution; holds what every tile needs."""

    spec: QConv2d
    target: CpuTarget
    cut: _Cut
    x: Buffer
    weight: Buffer
    scaling: tuple[Buffer, Buffer]
    lookup: Buffer | None
    lines: Buffer
    y: Buffer

    def emit(self) -> None:
        """Blocks of rows by groups of channels; parts share the rows."""
        spec, cut, threads = self.spec, self.cut, self.target.threads
        with parallel(threads) as part, guarded(part < threads):
            first = T.bind(part * spec.out_height // threads)
            rows = T.bind((part + 1) * spec.out_height // threads - first)
            with T.serial((rows + cut.rows - 1) // cut.rows) as index, T.serial(-(-cut.vectors // cut.group)) as group:
                row = T.bind(first + index * cut.rows)
                start = T.bind(group * cut.group)
                vectors = T.bind(tirx.min(cut.vectors - start, i32(cut.group)))
                count = T.bind(tirx.min(rows - index * cut.rows, i32(cut.rows)))
                self._copy(part, (row, count), start, vectors)
                with T.serial(vectors) as vector:
                    self._rows(part, (row, count), start, vector)

    def _copy(self, part: Expr, block: tuple[Expr, Expr], start: Expr, vectors: Expr) -> None:
        """Pairs of rows that some output rows read, of some vectors of channels, with padding around them."""
        spec, cut = self.spec, self.cut
        left = min(spec.pad[1], cut.columns)
        inside = min(spec.width, cut.columns - left)
        top = T.bind(block[0] * spec.stride[0] - spec.pad[0])
        with T.serial(cut.pairs_of(block[1])) as pair:
            rows = [T.bind(top + 2 * pair + side) for side in range(2)]
            masks = [self._mask(row) for row in rows]
            sources = [T.bind(within(row, i32(0), i32(spec.height - 1)) * spec.width) for row in rows]
            self._pad(part, pair, 0, left)
            with T.serial(inside) as column, T.serial(vectors) as vector:
                channel = channel_start(start + vector, spec.cin, cut.lanes)
                values = [
                    self._masked(load(self.x, ((source + column) * spec.cin + channel,), 2 * cut.lanes), mask)
                    for source, mask in zip(sources, masks, strict=True)
                ]
                order = [index for at in range(2 * cut.lanes) for index in (at, 2 * cut.lanes + at)]
                both = tirx.Shuffle(values, order).astype(f"int16x{4 * cut.lanes}")
                store(self.lines, (part, self._place(pair, left + column, vector)), 4 * cut.lanes, both)
            self._pad(part, pair, left + inside, cut.columns - left - inside)

    def _mask(self, row: Expr) -> Expr:
        """All bits of a byte where a row exists."""
        return T.bind(
            tirx.Select(tirx.all(row >= 0, row < self.spec.height), tirx.const(-1, "int8"), tirx.const(0, "int8"))
        )

    def _masked(self, value: Expr, mask: Expr) -> Expr:
        """``value``, or the padding where the row does not exist."""
        padding = tirx.const(self.spec.zero, "int8") & ~mask
        return T.bind((value & spread(mask, 2 * self.cut.lanes)) | spread(padding, 2 * self.cut.lanes))

    def _pad(self, part: Expr, pair: Expr, column: int, count: int) -> None:
        if count:
            lanes = 4 * self.cut.lanes
            with T.serial(count * self.cut.group) as index:
                place = self._place(pair, i32(column), index)
                store(self.lines, (part, place), lanes, constant(self.spec.zero, "int16", lanes))

    def _place(self, pair: Expr, column: Expr, vector: Expr) -> Expr:
        return ((pair * self.cut.columns + column) * self.cut.group + vector) * (4 * self.cut.lanes)

    def _rows(self, part: Expr, rows: tuple[Expr, Expr], start: Expr, vector: Expr) -> None:
        """The output rows of a block for one vector of channels."""
        (row, count), spec, phases = rows, self.spec, self.cut.phases
        tiles = -(-spec.out_width // PIXELS)
        with T.serial((count + phases - 1) // phases) as step:
            for phase in range(phases):
                index = step * phases + phase
                # The pair in which the row's window begins.
                pair = T.bind(step * (spec.stride[0] * phases // 2) + (spec.stride[0] - 1) // 2 * phase)
                with guarded(index < count), T.serial(tiles) as tile:
                    # The last tile of a row begins earlier rather than being smaller.
                    left = T.bind(tirx.min(tile * PIXELS, i32(max(spec.out_width - PIXELS, 0))))
                    sums = self._sums(part, phase, (pair, left), start, vector)
                    self._finish(sums, T.bind((row + index) * spec.out_width + left), start + vector)

    def _sums(self, part: Expr, phase: int, corner: tuple[Expr, Expr], start: Expr, vector: Expr) -> list[list[Buffer]]:
        """Sums of the windows of neighbouring pixels: of each two registers, one channel after the other."""
        spec, cut, lanes = self.spec, self.cut, self.cut.lanes
        (pair, left), window = corner, cut.windows[phase]
        sums = [[local(lanes, "int32") for _ in range(2)] for _ in range(min(PIXELS, spec.out_width))]
        for total in (total for totals in sums for total in totals):
            store(total, AT, lanes, constant(0, "int32", lanes))
        base = T.bind((start + vector) * cut.weights + cut.first_weight(phase))
        with T.serial(spec.kernel[1]) as kx:
            for index, below in enumerate(window):
                at = base + (kx * len(window) + index) * (4 * lanes)
                weights = [T.bind(load(self.weight, (at + half * 2 * lanes,), 2 * lanes)) for half in range(2)]
                for pixel, totals in enumerate(sums):
                    column = (left + pixel) * spec.stride[1] + kx * spec.dilation[1]
                    place = T.bind(self._place(pair + below, column, vector))
                    for half, (total, weight) in enumerate(zip(totals, weights, strict=True)):
                        value = load(self.lines, (part, place + half * 2 * lanes), 2 * lanes)
                        added = add_pair_products(load(total, AT, lanes), value, weight, self.target)
                        store(total, AT, lanes, added)
        return sums

    def _finish(self, sums: list[list[Buffer]], first: Expr, vector: Expr) -> None:
        """Store the channels of all pixels by the law."""
        spec, lanes = self.spec, self.cut.lanes
        channel = channel_start(vector, spec.cin, lanes)
        scaling = load_scaling(*self.scaling, vector, lanes)
        words = [scaled_words([load(total, AT, lanes) for total in totals], scaling, self.target) for totals in sums]
        if spec.how.dtype == "int16":
            for pixel, word in enumerate(words):
                value = tirx.max(in_order(word, lanes), constant(spec.how.limits[0], "int16", 2 * lanes))
                store(self.y, (first + pixel, channel), 2 * lanes, value)
            return
        for pixel in range(0, len(words), 2):
            pair = words[pixel], words[min(pixel + 1, len(words) - 1)]
            levels = T.bind(packed_bytes(*pair, spec.how.low, self.target))
            if self.lookup is not None:
                levels = T.bind(looked_up(levels, self.lookup, self.target))
            for side in range(min(2, len(words) - pixel)):
                order = list(range(side * 2 * lanes, (side + 1) * 2 * lanes))
                store(self.y, (first + pixel + side, channel), 2 * lanes, tirx.Shuffle([levels], order))
