"""Depthwise convolution of bytes: every channel has its own window of weights, so vectors run over channels.

Lines are copied with their padding and in 16 bits. Where the processor adds products of pairs, two taps of a channel
are such a pair.
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
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, local
from edgemtl.tvm_bridge.kernels.int8_finish import PERMUTED, TABLE_BYTES, look_up
from edgemtl.tvm_bridge.kernels.qconv_lines import LineBlock, Lines, cut_lines
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
    """The kernel of ``spec``: operands x, weight, bias, factor[, lookup], lines (workspace), y."""
    pixels, out_pixels, block = spec.height * spec.width, spec.out_height * spec.out_width, cut_lines(spec)
    operands = [
        Operand("x", (pixels, spec.cin), "int8", "input"),
        Operand("weight", (_packed_size(spec, target),), "int16", "weight"),
        Operand("bias", (spec.cin,), "int32", "weight"),
        Operand("factor", (spec.cin,), "float32", "weight"),
        *([Operand("lookup", (TABLE_BYTES,), "int8", "weight")] if spec.table else []),
        Operand("lines", (target.threads, block.size), "int16", "workspace"),
        Operand("y", (out_pixels, spec.cin), spec.how.dtype, "output"),
    ]
    tiles = -(-spec.out_width // PIXELS)

    def body(x: Buffer, weight: Buffer, *rest: Buffer) -> None:
        def multiply(part: Expr, row: Expr, rows: Expr) -> None:
            with T.serial(rows) as index, T.serial(tiles) as tile:
                # The last tile of a row begins earlier rather than being smaller.
                last = i32(max(spec.out_width - PIXELS, 0))
                left = T.bind(tirx.min(tile * PIXELS, last))
                corner = (index * spec.stride[0] * block.columns + left * spec.stride[1]) * spec.cin
                first = T.bind((row + index) * spec.out_width + left)
                _Tile(spec, target, block, weight, rest, first, (part, T.bind(corner))).emit()

        flat = T.decl_buffer((pixels * spec.cin,), "int8", data=x.data)
        Lines(spec, target, block, flat, rest[-2]).for_blocks(multiply)

    return define(symbol, operands, body)


def _packed_size(spec: QConv2d, target: CpuTarget) -> int:
    taps, paired = spec.kernel[0] * spec.kernel[1], paired_channels(spec, target)
    return (taps + taps % 2) * paired + taps * (spec.cin - paired)


@dataclass(frozen=True)
class _Tile:
    """Emits neighbouring output pixels from ``first`` on; ``corner``: the part, and where the first window begins."""

    spec: QConv2d
    target: CpuTarget
    block: LineBlock
    weight: Buffer
    rest: tuple[Buffer, ...]
    first: Expr
    corner: tuple[Expr, Expr]

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
                T.bind(load(self.weight, (pair * (2 * paired) + vector * (2 * lanes) + at,), lanes))
                for at in (0, lanes)
            ]
            # The tap that does not exist has a weight of zero.
            places = [self._place(tirx.min(2 * pair + at, taps - 1)) for at in range(2)]
            for index, totals in enumerate(sums):
                values = [T.bind(self._value(place, index, vector * lanes, lanes)) for place in places]
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
            weight = T.bind(load(self.weight, (begin + tap * rest + at,), lanes).astype(wide))
            for index, total in enumerate(sums):
                value = self._value(place, index, channel, lanes).astype(wide)
                store(total, AT, lanes, load(total, AT, lanes) + value * weight)
        for index, total in enumerate(sums):
            self._finish(index, channel, lanes, load(total, AT, lanes))

    def _place(self, tap: Expr) -> Expr:
        """How far from a window's corner a tap lies."""
        across = i32(self.spec.kernel[1])
        line = tirx.floordiv(tap, across) * (self.spec.dilation[0] * self.block.columns)
        return T.bind((line + tirx.floormod(tap, across) * self.spec.dilation[1]) * self.spec.cin)

    def _value(self, place: Expr, index: int, channel: Expr, lanes: int) -> Expr:
        """Channels that the ``index``-th pixel's tap reads."""
        part, start = self.corner
        return load(self.rest[-2], (part, start + place + index * self.spec.stride[1] * self.spec.cin + channel), lanes)

    def _finish(self, index: int, channel: Expr, lanes: int, total: Expr) -> None:
        """Store channels of a pixel by the law."""
        bias, factor, *table, _, y = self.rest
        spec = self.spec
        scale = load(factor, (channel,), lanes).astype(vector_type("float64", lanes))
        level = finished_sum(total + load(bias, (channel,), lanes), scale, spec.how, lanes)
        if spec.table:
            levels = local(PERMUTED, "int8")
            store(levels, AT, lanes, level)
            level = load(look_up(levels, table[0], lanes, self.target), AT, lanes)
        store(y, (self.first + index, channel), lanes, level)


def _zeros(lanes: int) -> Buffer:
    sums = local(lanes, "int32")
    store(sums, AT, lanes, constant(0, "int32", lanes))
    return sums


def _in_order(totals: list[Buffer], part: int, lanes: int) -> Expr:
    """Half of the channels in their order, of two registers of sums that lie as `interleaving` put them."""
    blocks = range(part * lanes // 8, (part + 1) * lanes // 8)
    order = [register * lanes + 4 * block + at for block in blocks for register in range(2) for at in range(4)]
    return tirx.Shuffle([load(total, AT, lanes) for total in totals], order)
