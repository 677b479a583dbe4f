"""Averages of windows of bytes on x86: sums of columns in int16, of them sums of rows, requantised in 32 bits.

A sum of `MOST_TAPS` bytes less a zero has 14 bits with its sign, its product with a multiplier 31. A shift above 30
leaves nothing of such a product: it is packed as a multiplier of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import unpack_scale
from edgemtl.operators import QPool
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel
from edgemtl.tvm_bridge.kernels.vectors import constant, intrinsic, load, pack_bytes, pack_words, spread, store

MOST_TAPS = 32
MOST_SHIFT = 30


def gains(spec: QPool, target: CpuTarget) -> bool:
    """Whether this kernel computes the averages of ``spec``: small windows of at least a vector of channels.

    Their results are bytes. Multipliers of more than 17 bits would need products of more than 32.
    """
    taps = spec.windows.kernel[0] * spec.windows.kernel[1]
    fits = spec.kind == "average" and taps <= MOST_TAPS and spec.channels >= 4 * target.lanes
    is_byte = spec.how.dtype == "int8" and not spec.is_fine
    return fits and is_byte and target.vector_bits >= 256


def pack(scale: np.ndarray) -> tuple[np.ndarray, ...]:
    """(mul, shift) of each pixel's window, int32 [out_height * out_width, 2]."""
    mul, shift = unpack_scale(scale)
    vanishes = shift > MOST_SHIFT
    pairs = np.stack([np.where(vanishes, 0, mul), np.minimum(shift, MOST_SHIFT)], -1)
    return (pairs.astype(np.int32),)


def build(symbol: str, spec: QPool, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, factor, columns (workspace), y."""
    windows = spec.windows
    operands = [
        Operand("x", (windows.pixels, spec.channels), "int8", "input"),
        Operand("factor", (windows.out_pixels, 2), "int32", "weight"),
        Operand("columns", (target.threads, _columns(spec), spec.channels), "int16", "workspace"),
        Operand("y", (windows.out_pixels, spec.channels), "int8", "output"),
    ]

    def body(x: Buffer, factor: Buffer, columns: Buffer, y: Buffer) -> None:
        average, threads = _Average(spec, target, x, factor, columns, y), target.threads
        with parallel(threads) as part, guarded(part < threads):
            average.pad(part)
            first = T.bind(part * windows.out_height // threads)
            with T.serial((part + 1) * windows.out_height // threads - first) as index:
                average.row(part, T.bind(first + index))

    return define(symbol, operands, body)


def _columns(spec: QPool) -> int:
    """Columns that the windows of a row read, with padding."""
    windows = spec.windows
    return (windows.out_width - 1) * windows.stride[1] + (windows.kernel[1] - 1) * windows.dilation[1] + 1


@dataclass(frozen=True)
class _Average:
    """Emits one pool; holds what every row needs."""

    spec: QPool
    target: CpuTarget
    x: Buffer
    factor: Buffer
    columns: Buffer
    y: Buffer

    @property
    def lanes(self) -> int:
        """Channels of a register of int16."""
        return 2 * self.target.lanes

    @property
    def inside(self) -> tuple[int, int]:
        """The first column of the image among those that windows read, and how many there are."""
        left = min(self.spec.windows.pad[1], _columns(self.spec))
        return left, min(self.spec.windows.width, _columns(self.spec) - left)

    def pad(self, part: Expr) -> None:
        """The columns beside the image: nothing."""
        left, inside = self.inside
        for first, count in ((0, left), (left + inside, _columns(self.spec) - left - inside)):
            if count:
                with T.serial(count) as column, T.serial(self.spec.channels) as channel:
                    T.buffer_store(self.columns, tirx.const(0, "int16"), [part, first + column, channel])

    def row(self, part: Expr, row: Expr) -> None:
        """One row of averages."""
        left, inside = self.inside
        vectors = -(-self.spec.channels // (2 * self.lanes))
        with T.serial(inside) as column, T.serial(vectors) as vector:
            self._column(part, row, (left + column, column), self._channel(vector))
        with T.serial(self.spec.windows.out_width) as column:
            pixel = T.bind(row * self.spec.windows.out_width + column)
            with T.serial(vectors) as vector:
                self._mean(part, column, pixel, self._channel(vector))

    def _channel(self, vector: Expr) -> Expr:
        """The first of two registers of channels; the last ones begin earlier rather than being smaller."""
        return T.bind(tirx.min(vector * (2 * self.lanes), i32(self.spec.channels - 2 * self.lanes)))

    def _column(self, part: Expr, row: Expr, columns: tuple[Expr, Expr], channel: Expr) -> None:
        """The sum of a column of the window, less the zero of every row."""
        windows, at = self.spec.windows, (i32(0),)
        totals = [local(self.lanes, "int16") for _ in range(2)]
        for total in totals:
            store(total, at, self.lanes, constant(0, "int16", self.lanes))
        for ky in range(windows.kernel[0]):
            line = T.bind(row * windows.stride[0] - windows.pad[0] + ky * windows.dilation[0])
            with guarded(tirx.all(line >= 0, line < windows.height)):
                for half, total in enumerate(totals):
                    pixel = line * windows.width + columns[1], channel + half * self.lanes
                    value = load(self.x, pixel, self.lanes).astype(f"int16x{self.lanes}")
                    zero = constant(self.spec.zero, "int16", self.lanes)
                    store(total, at, self.lanes, load(total, at, self.lanes) + value - zero)
        for half, total in enumerate(totals):
            place = part, columns[0], channel + half * self.lanes
            store(self.columns, place, self.lanes, load(total, at, self.lanes))

    def _mean(self, part: Expr, column: Expr, pixel: Expr, channel: Expr) -> None:
        """The sum of a window, requantised."""
        windows, words = self.spec.windows, []
        for half in range(2):
            total: Expr = None
            for kx in range(windows.kernel[1]):
                place = part, column * windows.stride[1] + kx * windows.dilation[1], channel + half * self.lanes
                value = load(self.columns, place, self.lanes)
                total = value if total is None else total + value
            words.append(self._scaled(T.bind(total), pixel))
        # Blocks of 128 bits have the even channels of eight, then the odd ones; of the first register, then the other.
        order = [
            register * self.lanes + 8 * block + at
            for block in range(self.lanes // 8)
            for register in range(2)
            for at in (0, 2, 4, 6, 1, 3, 5, 7)
        ]
        places = [int(place) for place in np.argsort(order)]
        levels = tirx.Shuffle([pack_bytes(words[0], words[1], self.target)], places)
        store(self.y, (pixel, channel), 2 * self.lanes, levels)

    def _scaled(self, total: Expr, pixel: Expr) -> Expr:
        """A register of int16 sums requantised: of every eight the even channels, then the odd ones."""
        lanes, dtype = self.target.lanes, f"int32x{self.target.lanes}"
        mul, shift = T.bind(self.factor[pixel, 0]), T.bind(self.factor[pixel, 1])
        half, word = T.bind(i32(1) << (shift - 1)), constant(16, "int32", lanes)
        pairs = tirx.reinterpret(dtype, total)
        scaled = [
            (value * spread(mul, lanes) + spread(half, lanes)) >> spread(shift, lanes)
            for value in ((pairs << word) >> word, pairs >> word)
        ]
        packed = pack_words(scaled[0], scaled[1], self.target)
        zero = constant(self.spec.how.zero, "int16", self.lanes)
        return T.bind(intrinsic(f"int16x{self.lanes}", "sadd.sat", packed, zero))
