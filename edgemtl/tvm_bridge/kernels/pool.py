"""Pooling of images that lie channels-last, in float32 and in bytes: a vector of channels at a time."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import INT8, unpack_scale
from edgemtl.hw.law_weightless import Windows
from edgemtl.operators import Pool, QPool
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import qpool_average
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local
from edgemtl.tvm_bridge.kernels.vectors import (
    constant,
    each_row,
    for_vectors,
    intrinsic,
    load,
    requantised,
    spread,
    store,
    vector_type,
)

SHORT_SUMS = 2**15 // 255
"""Bytes less a zero whose sum int16 holds."""


def pack(spec: Pool | QPool, target: CpuTarget, *scale: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the sum of each window is multiplied with, float32 [out_height * out_width]: exact, of 20 bits.

    Averages of bytes that `qpool_average` takes have (mul, shift) instead.
    """
    if isinstance(spec, Pool) or spec.kind == "max":
        return scale
    if isinstance(spec, QPool) and qpool_average.gains(spec, target):
        return qpool_average.pack(*scale)
    mul, shift = unpack_scale(*scale)
    return ((mul * 2.0**-shift).astype(np.float32),)


@cache
def build(spec: Pool | QPool, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x[, factor], y."""
    if isinstance(spec, QPool) and qpool_average.gains(spec, target):
        return qpool_average.build(_symbol(spec), spec, target)
    windows, dtype = spec.windows, "float32" if isinstance(spec, Pool) else "int8"
    operands = [
        Operand("x", (windows.pixels, spec.channels), dtype, "input"),
        *([Operand("factor", (windows.out_pixels,), "float32", "weight")] if spec.kind == "average" else []),
        Operand("y", (windows.out_pixels, spec.channels), spec.signature.outputs["y"].dtype, "output"),
    ]

    def body(x: Buffer, *rest: Buffer) -> None:
        def pixel(index: Expr) -> None:
            column = T.bind(tirx.floormod(index, i32(windows.out_width)))
            row = T.bind(tirx.floordiv(index, i32(windows.out_width)))

            def channels(lanes: int, first: Expr) -> None:
                value = _reduced(spec, windows, x, (row, column, first), lanes)
                if spec.kind == "average":
                    value = _mean(spec, value, rest[0][index], lanes)
                store(rest[-1], (index, first), lanes, value)

            for_vectors(spec.channels, (2 if isinstance(spec, Pool) else 4) * target.lanes, channels)

        each_row(windows.out_pixels, target, pixel)

    return define(_symbol(spec), operands, body)


def _reduced(spec: Pool | QPool, windows: Windows, x: Buffer, place: tuple[Expr, Expr, Expr], lanes: int) -> Expr:
    """The largest or the sum of a window; sums of its rows are added up, which keeps the digits of a large window."""
    row, column, first = place
    if spec.kind == "max":
        dtype, start = str(x.dtype), INT8[0] if isinstance(spec, QPool) else -np.inf
    else:
        dtype, start = ("int32", 0) if isinstance(spec, QPool) else ("float32", 0)
    narrow = isinstance(spec, QPool) and spec.kind == "average" and windows.kernel[0] * windows.kernel[1] <= SHORT_SUMS
    dtype = "int16" if narrow else dtype
    whole, line = local(lanes, dtype), local(lanes, dtype)
    begin, at = spread(tirx.const(start, dtype), lanes), (i32(0),)
    store(whole, at, lanes, begin)
    with T.serial(windows.kernel[0]) as ky:
        y = T.bind(row * windows.stride[0] - windows.pad[0] + ky * windows.dilation[0])
        with guarded(tirx.all(y >= 0, y < windows.height)):
            store(line, at, lanes, begin)
            with T.serial(windows.kernel[1]) as kx:
                across = T.bind(column * windows.stride[1] - windows.pad[1] + kx * windows.dilation[1])
                with guarded(tirx.all(across >= 0, across < windows.width)):
                    value = load(x, (y * windows.width + across, first), lanes)
                    if spec.kind == "average" and isinstance(spec, QPool):
                        value = value.astype(vector_type(dtype, lanes)) - constant(spec.zero, dtype, lanes)
                    store(line, at, lanes, _joined(spec, load(line, at, lanes), value, lanes))
            store(whole, at, lanes, _joined(spec, load(whole, at, lanes), load(line, at, lanes), lanes))
    return load(whole, at, lanes)


def _joined(spec: Pool | QPool, a: Expr, b: Expr, lanes: int) -> Expr:
    if spec.kind == "average":
        return a + b
    return tirx.max(a, b) if isinstance(spec, QPool) else intrinsic(vector_type("float32", lanes), "maximum", a, b)


def _mean(spec: Pool | QPool, total: Expr, factor: Expr, lanes: int) -> Expr:
    if isinstance(spec, Pool):
        return total * spread(factor, lanes)
    wide, zero, (low, high) = total.astype(vector_type("int32", lanes)), spec.how.zero, spec.how.limits
    factors = spread(factor.astype("float64"), lanes)
    value = requantised(wide, factors, lanes, (low - zero, high - zero))
    return (value + constant(zero, "int32", lanes)).astype(vector_type(spec.how.dtype, lanes))


def _symbol(spec: Pool | QPool) -> str:
    windows = spec.windows
    sizes = (windows.height, windows.width, windows.out_height, windows.out_width, spec.channels)
    words = (*sizes, *windows.kernel, *windows.stride, *windows.pad, *windows.dilation)
    integers = (spec.zero, spec.how.zero, spec.how.dtype, int(spec.is_fine)) if isinstance(spec, QPool) else ()
    return f"{type(spec).__name__.lower()}_{spec.kind}_" + "_".join(map(str, (*words, *integers)))
