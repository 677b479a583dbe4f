"""Integer normalisation of rows by their own moments, with a scale and an offset for each channel."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law_generic import NORM_OCTAVES
from edgemtl.operators import QNormalise
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, local
from edgemtl.tvm_bridge.kernels.qelementwise import finished
from edgemtl.tvm_bridge.kernels.vectors import (
    MOST_MULTIPLIER,
    bit_length,
    each_row,
    f64,
    i64,
    power_of_two,
)


def pack(spec: QNormalise, target: CpuTarget, scale: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scales as (mul, shift, sign) int32 [parameters, 3], and offsets."""
    mul, shift = unpack_scale(np.abs(scale))
    return np.stack([mul, shift, np.sign(scale)], -1).astype(np.int32), offset


@cache
def build(spec: QNormalise, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, scale, offset, y."""
    region = spec.region
    shape = region.rows, region.width
    operands = [
        Operand("x", shape, spec.dtype, "input"),
        Operand("scale", (region.parameters, 3), "int32", "weight"),
        Operand("offset", (region.parameters,), "int32", "weight"),
        Operand("y", shape, spec.how.dtype, "output"),
    ]

    def body(*buffers: Buffer) -> None:
        each_row(region.rows, target, lambda row: _row(spec, buffers, T.bind(row)))

    sizes = (region.rows, region.channels, region.inner, region.parameters)
    numbers = (spec.zero, spec.epsilon, int(spec.is_centred), spec.how.dtype, spec.how.zero, spec.how.low)
    words = "_".join(map(str, (*sizes, spec.dtype, *numbers)))
    return define(f"qnormalise_{words}", operands, body)


def _row(spec: QNormalise, buffers: tuple[Buffer, ...], row: Expr) -> None:
    x, scale, offset, y = buffers
    region = spec.region
    total, squares = local(1, "int64"), local(1, "int64")
    T.buffer_store(total, i64(0), [0])
    T.buffer_store(squares, i64(0), [0])
    with T.serial(region.width) as at:
        value = T.bind(x[row, at].astype("int32") - i32(spec.zero))
        T.buffer_store(total, total[0] + value.astype("int64"), [0])
        T.buffer_store(squares, squares[0] + value.astype("int64") * value.astype("int64"), [0])
    summed = T.bind(total[0] if spec.is_centred else i64(0))
    mantissa, exponent = _inverse_root(T.bind(i64(region.width) * squares[0] - summed * summed + i64(spec.epsilon)))
    with T.serial(region.channels) as channel:
        at = T.bind((row * region.channels + channel) % region.parameters)
        product = (mantissa * scale[at, 0].astype("int64") + i64(1 << 16)) >> i64(17)
        multiplier = tirx.min(product, i64(MOST_MULTIPLIER)) * scale[at, 2].astype("int64")
        power = power_of_two(i64(NORM_OCTAVES - 16) - exponent - scale[at, 1].astype("int64"))
        factor = T.bind(multiplier.astype("float64") * power)
        added = T.bind(offset[at])
        with T.serial(region.inner) as inner:
            place = T.bind(channel * region.inner + inner)
            value = (x[row, place].astype("int32") - i32(spec.zero)) * i32(region.width) - summed.astype("int32")
            scaled = tirx.floor(value.astype("float64") * factor + f64(0.5))
            # Far beyond what saturates: offsets keep below 2^30.
            bounded = tirx.max(tirx.min(scaled, f64(2.0**30)), f64(-(2.0**30))).astype("int32")
            T.buffer_store(y, finished(bounded + added, spec.how, 1), [row, place])


def _inverse_root(value: Expr) -> tuple[Expr, Expr]:
    """`arith.reciprocal_sqrt` of an int64."""
    exponent = T.bind(((bit_length(value) + i64(1)) >> i64(1)) - i64(17))
    down, up = (tirx.max(shift, i64(0)) for shift in (exponent + exponent, -exponent - exponent))
    scaled = T.bind(((value >> down) << up).astype("float64"))
    root = tirx.floor(tirx.sqrt(scaled))
    mantissa = (f64(2.0**33) / root).astype("int64")
    return T.bind(tirx.min(mantissa, i64(MOST_MULTIPLIER))), exponent
