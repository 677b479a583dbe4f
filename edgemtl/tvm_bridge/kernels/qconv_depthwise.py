"""Depthwise convolution of bytes: every channel has its own window of weights, so vectors run over channels.

Lines are copied with their padding and in 16 bits. Where the processor adds products of pairs, `qdepthwise_pairs` does.
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
from edgemtl.tvm_bridge.kernels import qdepthwise_pairs
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, local
from edgemtl.tvm_bridge.kernels.int8_finish import PERMUTED, TABLE_BYTES, look_up
from edgemtl.tvm_bridge.kernels.qconv_lines import LineBlock, Lines, cut_lines
from edgemtl.tvm_bridge.kernels.qelementwise import finished_sum
from edgemtl.tvm_bridge.kernels.vectors import constant, for_vectors, load, store, vector_type

# Neighbouring pixels that share one reading of the weights.
PIXELS = 4
AT = (0,)


def is_depthwise(spec: QConv2d) -> bool:
    """Whether every channel is a group of its own."""
    return spec.groups == spec.cin == spec.cout > 1


def pack(
    spec: QConv2d, target: CpuTarget, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight [channels, 1, kh, kw] as int16 [taps, channels], bias, factors float32, and the table."""
    paired = qdepthwise_pairs.multiplying(spec, target)
    if paired:
        return qdepthwise_pairs.pack(spec, paired, weight, bias, scale, *table)
    mul, shift = unpack_scale(scale)
    taps = np.ascontiguousarray(weight[:, 0].reshape(spec.cin, -1).T, np.int16)
    return taps, bias, (mul * 2.0**-shift).astype(np.float32), *table


def build(symbol: str, spec: QConv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, factor[, lookup], lines (workspace), y."""
    paired = qdepthwise_pairs.multiplying(spec, target)
    if paired:
        return qdepthwise_pairs.build(symbol, spec, paired)
    pixels, out_pixels, block = spec.height * spec.width, spec.out_height * spec.out_width, cut_lines(spec)
    operands = [
        Operand("x", (pixels, spec.cin), "int8", "input"),
        Operand("weight", (spec.kernel[0] * spec.kernel[1], spec.cin), "int16", "weight"),
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
        """All channels."""
        for_vectors(self.spec.cin, self.target.lanes, self._vector)

    def _vector(self, lanes: int, channel: Expr) -> None:
        """One vector of channels."""
        wide = vector_type("int32", lanes)
        sums = [_zeros(lanes) for _ in range(self.count)]
        with T.serial(self.spec.kernel[0] * self.spec.kernel[1]) as tap:
            place = self._place(tap)
            weight = T.bind(load(self.weight, (tap, channel), lanes).astype(wide))
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
