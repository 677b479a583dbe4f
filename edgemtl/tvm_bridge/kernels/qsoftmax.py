"""Integer softmax of rows: their largest, weights by table, one reciprocal a row."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import EXP2_FRACTION_BITS, EXP2_TABLE
from edgemtl.hw.law_generic import FURTHEST
from edgemtl.operators import QSoftmax
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel
from edgemtl.tvm_bridge.kernels.qelementwise import finished
from edgemtl.tvm_bridge.kernels.vectors import f64, i64, power_of_two, reciprocal, requantised, scale_mantissa

STEPS = 2**EXP2_FRACTION_BITS


def pack(spec: QSoftmax, target: CpuTarget) -> tuple[np.ndarray]:
    """The table of powers of two, int32 [64]."""
    return (EXP2_TABLE.astype(np.int32),)


@cache
def build(spec: QSoftmax, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, exp2 (table), weights (workspace per part), y."""
    operands = [
        Operand("x", (spec.rows, spec.width), spec.dtype, "input"),
        Operand("exp2", (STEPS,), "int32", "weight"),
        Operand("weights", (target.threads, spec.width), "int32", "workspace"),
        Operand("y", (spec.rows, spec.width), spec.how.dtype, "output"),
    ]

    def body(x: Buffer, exp2: Buffer, weights: Buffer, y: Buffer) -> None:
        share = -(-spec.rows // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            row = T.bind(part * share + index)
            with guarded(tirx.all(part < target.threads, row < spec.rows)):
                _row(spec, (x, exp2, weights, y), part, row)

    numbers = (*spec.scale, *spec.out_scale, spec.how.dtype, spec.how.zero, spec.how.low)
    symbol = f"qsoftmax_{spec.rows}x{spec.width}_{spec.dtype}_" + "_".join(map(str, numbers))
    return define(symbol, operands, body)


def _row(spec: QSoftmax, buffers: tuple[Buffer, ...], part: Expr, row: Expr) -> None:
    x, exp2, weights, y = buffers
    (mul, shift), (out_mul, out_shift) = spec.scale, spec.out_scale
    largest, summed = local(1, "int32"), local(1, "int32")
    T.buffer_store(largest, x[row, 0].astype("int32"), [0])
    T.buffer_store(summed, i32(0), [0])
    with T.serial(spec.width) as at:
        T.buffer_store(largest, tirx.max(largest[0], x[row, at].astype("int32")), [0])
    peak, factor = T.bind(largest[0]), f64(mul * 2.0**-shift)
    with T.serial(spec.width) as at:
        scaled = (peak - x[row, at].astype("int32")).astype("float64") * factor + f64(0.5)
        distance = T.bind(tirx.min(tirx.floor(scaled), f64(FURTHEST)).astype("int32"))
        T.buffer_store(weights, _weight(exp2, distance), [part, at])
        T.buffer_store(summed, summed[0] + weights[part, at], [0])
    mantissa, exponent = reciprocal(summed[0].astype("int64"))
    scale = scale_mantissa(mantissa, out_mul).astype("float64") * power_of_two(i64(1 - out_shift) - exponent)
    scale = T.bind(scale)
    with T.serial(spec.width) as at:
        value = requantised(weights[part, at], scale, 1)
        T.buffer_store(y, finished(value, spec.how, 1), [row, at])


def _weight(exp2: Buffer, distance: Expr) -> Expr:
    """`arith.exp2_wide`; doubled before it is rounded, so that a shift by nothing is like the others."""
    entry = exp2[distance & i32(STEPS - 1)] << i32(1)
    return ((entry >> (distance >> i32(EXP2_FRACTION_BITS))) + i32(1)) >> i32(1)
