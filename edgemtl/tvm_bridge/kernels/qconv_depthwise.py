"""Depthwise convolution of bytes: every channel has its own window of weights, so vectors run over channels."""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import unpack_scale
from edgemtl.operators import QConv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel
from edgemtl.tvm_bridge.kernels.int8_finish import PERMUTED, TABLE_BYTES, look_up
from edgemtl.tvm_bridge.kernels.qelementwise import finished
from edgemtl.tvm_bridge.kernels.vectors import constant, for_vectors, load, requantised, store, vector_type

# Neighbouring pixels that share one reading of the weights.
PIXELS = 4


def is_depthwise(spec: QConv2d) -> bool:
    """Whether every channel is a group of its own."""
    return spec.groups == spec.cin == spec.cout > 1


def pack(
    spec: QConv2d, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Weight [channels, 1, kh, kw] as int16 [kh, kw, channels], sums to start from, factors float32, and the table.

    Products are of x - zero, so that padding adds nothing: the start has back what the law's bias leaves out for it.
    """
    start = bias.astype(np.int64) + spec.zero * weight.astype(np.int64).sum((1, 2, 3))
    mul, shift = unpack_scale(scale)
    taps = np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0), np.int16)
    return taps, start.astype(np.int32), (mul * 2.0**-shift).astype(np.float32), *table


def build(symbol: str, spec: QConv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, start, factor[, lookup], y."""
    pixels, out_pixels = spec.height * spec.width, spec.out_height * spec.out_width
    operands = [
        Operand("x", (pixels, spec.cin), "int8", "input"),
        Operand("weight", (*spec.kernel, spec.cin), "int16", "weight"),
        Operand("start", (spec.cin,), "int32", "weight"),
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


def _tile(spec: QConv2d, target: CpuTarget, buffers: tuple[Buffer, ...], row: Expr, left: Expr) -> None:
    """Some neighbouring output pixels; tested one by one where the window reaches over a border."""
    count = min(PIXELS, spec.out_width)
    top = T.bind(row * spec.stride[0] - spec.pad[0])
    first = T.bind(left * spec.stride[1] - spec.pad[1])
    height, width = ((size - 1) * step + 1 for size, step in zip(spec.kernel, spec.dilation, strict=True))
    last = first + (count - 1) * spec.stride[1] + width
    inside = tirx.all(top >= 0, top + height <= spec.height, first >= 0, last <= spec.width)

    def channels(is_tested: bool) -> None:
        def vector(lanes: int, channel: Expr) -> None:
            _vector(spec, target, buffers, (row, left, top, first), (channel, lanes), is_tested)

        for_vectors(spec.cin, target.lanes, vector)

    with T.If(inside):
        with T.Then():
            channels(False)
        with T.Else():
            channels(True)


def _vector(
    spec: QConv2d,
    target: CpuTarget,
    buffers: tuple[Buffer, ...],
    place: tuple[Expr, Expr, Expr, Expr],
    columns: tuple[Expr, int],
    is_tested: bool,
) -> None:
    x, weight, start, factor, *rest = buffers
    (row, left, top, first), (channel, lanes) = place, columns
    count, wide = min(PIXELS, spec.out_width), vector_type("int32", lanes)
    zero, at = constant(spec.zero, "int32", lanes), (i32(0),)
    sums = [local(lanes, "int32") for _ in range(count)]
    for total in sums:
        store(total, at, lanes, load(start, (channel,), lanes))
    with T.serial(spec.kernel[0]) as ky, T.serial(spec.kernel[1]) as kx:
        line = T.bind(top + ky * spec.dilation[0])
        taps = T.bind(load(weight, (ky, kx, channel), lanes).astype(wide))
        for index, total in enumerate(sums):
            column = T.bind(first + index * spec.stride[1] + kx * spec.dilation[1])
            bounds = [line >= 0, line < spec.height, column >= 0, column < spec.width] if is_tested else []
            with guarded(tirx.all(*bounds)) if bounds else guarded(i32(0) < i32(1)):
                value = load(x, (line * spec.width + column, channel), lanes).astype(wide) - zero
                store(total, at, lanes, load(total, at, lanes) + value * taps)
    scale = T.bind(load(factor, (channel,), lanes).astype(vector_type("float64", lanes)))
    for index, total in enumerate(sums):
        level = finished(requantised(load(total, at, lanes), scale, lanes), spec.how, lanes)
        if spec.table:
            levels = local(PERMUTED, "int8")
            store(levels, at, lanes, level)
            level = load(look_up(levels, rest[0], lanes, target), at, lanes)
        store(rest[-1], (row * spec.out_width + left + index, channel), lanes, level)
