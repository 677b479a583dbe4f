"""Depthwise convolution of bytes: every channel has its own window of weights, so vectors run over channels.

Where the processor adds products of pairs, two taps of a channel are such a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import unpack_scale
from edgemtl.operators import QConv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel
from edgemtl.tvm_bridge.kernels.int8_finish import PERMUTED, TABLE_BYTES, look_up
from edgemtl.tvm_bridge.kernels.qelementwise import finished_sum
from edgemtl.tvm_bridge.kernels.vectors import add_pair_products, constant, for_vectors, load, store, vector_type

# Neighbouring pixels that share one reading of the weights.
PIXELS = 4
AT = (0,)


def is_depthwise(spec: QConv2d) -> bool:
    """Whether every channel is a group of its own."""
    return spec.groups == spec.cin == spec.cout > 1


def paired_channels(spec: QConv2d, target: CpuTarget) -> int:
    """Channels that go through products of pairs: whole vectors of int16, on processors that have such products."""
    return spec.cin // (2 * target.lanes) * (2 * target.lanes) if target.vector_bits >= 256 else 0


def interleaving(lanes: int) -> tuple[list[int], list[int]]:
    """Indices that put two vectors of ``lanes`` int16 side by side, value by value: two vectors of pairs.

    As the instructions do it: the first has the lower halves of all blocks of 128 bits, the second the upper ones.
    """
    halves = ([8 * block + half + at for block in range(lanes // 8) for at in range(4)] for half in (0, 4))
    low, high = ([index for at in half for index in (at, lanes + at)] for half in halves)
    return low, high


def pack(
    spec: QConv2d, target: CpuTarget, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight [channels, 1, kh, kw] as int16 flat, bias, factors float32, and the table.

    First the paired channels: by pair of taps and vector of channels both vectors of `interleaving`, zeros for a tap
    that does not exist. Then the others [taps, channels].
    """
    mul, shift = unpack_scale(scale)
    taps = weight[:, 0].reshape(spec.cin, -1).T.astype(np.int16)
    paired, lanes = paired_channels(spec, target), 2 * target.lanes
    even = np.zeros((taps.shape[0] + taps.shape[0] % 2, paired), np.int16)
    even[: taps.shape[0]] = taps[:, :paired]
    shape = even.shape[0] // 2, paired // lanes
    vectors = even.reshape(shape[0], 2, shape[1], lanes).transpose(0, 2, 1, 3).reshape(*shape, 2 * lanes)
    flat = np.concatenate([vectors[..., np.concatenate(interleaving(lanes))].ravel(), taps[:, paired:].ravel()])
    return flat, bias, (mul * 2.0**-shift).astype(np.float32), *table


def build(symbol: str, spec: QConv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, factor[, lookup], y."""
    pixels, out_pixels = spec.height * spec.width, spec.out_height * spec.out_width
    operands = [
        Operand("x", (pixels, spec.cin), "int8", "input"),
        Operand("weight", (_packed_size(spec, target),), "int16", "weight"),
        Operand("bias", (spec.cin,), "int32", "weight"),
        Operand("factor", (spec.cin,), "float32", "weight"),
        *([Operand("lookup", (TABLE_BYTES,), "int8", "weight")] if spec.table else []),
        Operand("y", (out_pixels, spec.cin), spec.how.dtype, "output"),
    ]
    tiles = -(-spec.out_width // PIXELS)

    def body(*buffers: Buffer) -> None:
        work = spec.out_height * tiles
        share = -(-work // target.threads)
        with parallel(target.threads) as part, guarded(part < target.threads), T.serial(share) as index:
            piece = T.bind(part * share + index)
            with guarded(piece < work):
                row = T.bind(tirx.floordiv(piece, i32(tiles)))
                # The last tile of a row begins earlier rather than being smaller.
                left = T.bind(
                    tirx.max(tirx.min(tirx.floormod(piece, i32(tiles)) * PIXELS, i32(spec.out_width - PIXELS)), i32(0))
                )
                _tile(spec, target, buffers, row, left)

    return define(symbol, operands, body)


def _packed_size(spec: QConv2d, target: CpuTarget) -> int:
    taps, paired = spec.kernel[0] * spec.kernel[1], paired_channels(spec, target)
    return (taps + taps % 2) * paired + taps * (spec.cin - paired)


def _tile(spec: QConv2d, target: CpuTarget, buffers: tuple[Buffer, ...], row: Expr, left: Expr) -> None:
    """Some neighbouring output pixels; tested one by one where the window reaches over a border."""
    count = min(PIXELS, spec.out_width)
    top = T.bind(row * spec.stride[0] - spec.pad[0])
    first = T.bind(left * spec.stride[1] - spec.pad[1])
    height, width = ((size - 1) * step + 1 for size, step in zip(spec.kernel, spec.dilation, strict=True))
    last = first + (count - 1) * spec.stride[1] + width
    inside = tirx.all(top >= 0, top + height <= spec.height, first >= 0, last <= spec.width)

    def channels(is_tested: bool) -> None:
        _Tile(spec, target, buffers, (row, left), (top, first), is_tested).emit()

    with T.If(inside):
        with T.Then():
            channels(False)
        with T.Else():
            channels(True)


@dataclass(frozen=True)
class _Tile:
    """Emits neighbouring output pixels: the first, as row and column, and the corner of its window in the image."""

    spec: QConv2d
    target: CpuTarget
    buffers: tuple[Buffer, ...]
    pixel: tuple[Expr, Expr]
    corner: tuple[Expr, Expr]
    is_tested: bool

    @property
    def count(self) -> int:
        """Pixels."""
        return min(PIXELS, self.spec.out_width)

    def emit(self) -> None:
        """All channels: pairs of products for whole vectors, products of 32 bits for what is left."""
        lanes, paired = 2 * self.target.lanes, paired_channels(self.spec, self.target)
        if paired:
            with T.serial(paired // lanes) as vector:
                self._pairs(vector)
        for_vectors(self.spec.cin - paired, self.target.lanes, lambda count, at: self._single(paired + at, at, count))

    def _pairs(self, vector: Expr) -> None:
        """A vector of int16 channels: two taps at a time, in two registers of sums."""
        lanes, taps = 2 * self.target.lanes, self.spec.kernel[0] * self.spec.kernel[1]
        paired, half = paired_channels(self.spec, self.target), self.target.lanes
        sums = [[_zeros(half) for _ in range(2)] for _ in range(self.count)]
        with T.serial(-(-taps // 2)) as pair:
            weights = [
                T.bind(load(self.buffers[1], (pair * (2 * paired) + vector * (2 * lanes) + at,), lanes))
                for at in (0, lanes)
            ]
            # The tap that does not exist has a weight of zero.
            places = [self._place(tirx.min(2 * pair + at, taps - 1)) for at in range(2)]
            for index, totals in enumerate(sums):
                values = [T.bind(self._value(place, index, vector * lanes, lanes, "int16")) for place in places]
                for total, weight, order in zip(totals, weights, interleaving(lanes), strict=True):
                    both = T.bind(tirx.Shuffle(values, order))
                    added = add_pair_products(load(total, AT, half), both, weight, self.target)
                    store(total, AT, half, added)
        for index, totals in enumerate(sums):
            for part in range(2):
                self._finish(index, vector * lanes + part * half, half, _in_order(totals, part, half))

    def _single(self, channel: Expr, at: Expr, lanes: int) -> None:
        """A narrower vector of channels, the ``at``-th of those left."""
        paired, wide = paired_channels(self.spec, self.target), vector_type("int32", lanes)
        taps = self.spec.kernel[0] * self.spec.kernel[1]
        begin, rest = (taps + taps % 2) * paired, self.spec.cin - paired
        sums = [_zeros(lanes) for _ in range(self.count)]
        with T.serial(taps) as tap:
            place = self._place(tap)
            weight = T.bind(load(self.buffers[1], (begin + tap * rest + at,), lanes).astype(wide))
            for index, total in enumerate(sums):
                value = self._value(place, index, channel, lanes, "int32")
                store(total, AT, lanes, load(total, AT, lanes) + value * weight)
        for index, total in enumerate(sums):
            self._finish(index, channel, lanes, load(total, AT, lanes))

    def _place(self, tap: Expr) -> tuple[Expr, Expr]:
        """Row and column of the image that a tap of the first pixel reads."""
        across, (top, first) = i32(self.spec.kernel[1]), self.corner
        return (
            T.bind(top + tirx.floordiv(tap, across) * self.spec.dilation[0]),
            T.bind(first + tirx.floormod(tap, across) * self.spec.dilation[1]),
        )

    def _value(self, place: tuple[Expr, Expr], index: int, channel: Expr, lanes: int, dtype: str) -> Expr:
        """Channels that the ``index``-th pixel's tap reads, or the byte that pads."""
        spec, line, column = self.spec, place[0], place[1] + index * self.spec.stride[1]
        value = load(self.buffers[0], (line * spec.width + column, channel), lanes).astype(vector_type(dtype, lanes))
        if not self.is_tested:
            return value
        inside = tirx.all(line >= 0, line < spec.height, column >= 0, column < spec.width)
        return tirx.if_then_else(inside, value, constant(spec.zero, dtype, lanes))

    def _finish(self, index: int, channel: Expr, lanes: int, total: Expr) -> None:
        """Store channels of a pixel by the law."""
        _, _, bias, factor, *rest = self.buffers
        spec, (row, left) = self.spec, self.pixel
        scale = load(factor, (channel,), lanes).astype(vector_type("float64", lanes))
        level = finished_sum(total + load(bias, (channel,), lanes), scale, spec.how, lanes)
        if spec.table:
            levels = local(PERMUTED, "int8")
            store(levels, AT, lanes, level)
            level = load(look_up(levels, rest[0], lanes, self.target), AT, lanes)
        store(rest[-1], (row * spec.out_width + left + index, channel), lanes, level)


def _zeros(lanes: int) -> Buffer:
    sums = local(lanes, "int32")
    store(sums, AT, lanes, constant(0, "int32", lanes))
    return sums


def _in_order(totals: list[Buffer], part: int, lanes: int) -> Expr:
    """Half of the channels in their order, of two registers of sums that lie as `interleaving` put them."""
    blocks = range(part * lanes // 8, (part + 1) * lanes // 8)
    order = [register * lanes + 4 * block + at for block in blocks for register in range(2) for at in range(4)]
    return tirx.Shuffle([load(total, AT, lanes) for total in totals], order)
