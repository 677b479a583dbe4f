"""Between number formats, value by value: float32 to integers and back, int16 to int8."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import INT8, INT16
from edgemtl.hw.law import WIDE, Finish
from edgemtl.hw.law_weightless import Rescale
from edgemtl.operators import Convert, Dequantise, Quantise
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, f32, guarded
from edgemtl.tvm_bridge.kernels.vectors import (
    clip,
    constant,
    each_row,
    f64,
    for_vectors,
    load,
    requantised,
    saturate,
    spread,
    store,
    vector_type,
)

# Values that one thread takes at a time.
BLOCK = 1024

Spec = Quantise | Dequantise | Convert


def quantised(value: Expr, inverse_scale: float, zero: int, dtype: str, lanes: int, wide: bool = False) -> Expr:
    """`law.quantise` of a float32 vector; the rounding between keeps product and sum apart."""
    nearest = tirx.nearbyint(value * spread(f32(inverse_scale), lanes)) + spread(f32(zero), lanes)
    limits = WIDE if wide else INT8 if dtype == "int8" else INT16
    low, high = (spread(f32(end), lanes) for end in limits)
    return clip(nearest, low, high).astype(f"int32x{lanes}").astype(f"{dtype}x{lanes}")


def dequantised(value: Expr, scale: float, zero: int, lanes: int) -> Expr:
    """`law.dequantise` of an int32 vector."""
    return (value - constant(zero, "int32", lanes)).astype(f"float32x{lanes}") * spread(f32(scale), lanes)


def finished(value: Expr, how: Finish, lanes: int) -> Expr:
    """`law.finish` of requantised int32 values, without table and residual: saturated, a byte with its zero."""
    shifted = value + constant(how.zero, "int32", lanes) if how.dtype == "int8" else value
    limits = (constant(bound, "int32", lanes) for bound in how.limits)
    return clip(shifted, *limits).astype(vector_type(how.dtype, lanes))


def finished_sum(total: Expr, factor: Expr, how: Finish, lanes: int) -> Expr:
    """`law.finish` of int32 sums, without table and residual."""
    zero = how.zero if how.dtype == "int8" else 0
    low, high = how.limits
    value = requantised(total, factor, lanes, (low - zero, high - zero)) + constant(zero, "int32", lanes)
    return value.astype(vector_type(how.dtype, lanes))


def rescaled(value: Expr, how: Rescale, dtype: str, lanes: int) -> Expr:
    """`law_weightless.rescale` of an int32 vector."""
    factor = spread(f64(how.mul * 2.0**-how.shift), lanes)
    scaled = requantised(value - constant(how.zero, "int32", lanes), factor, lanes)
    return saturate(scaled + constant(how.out_zero, "int32", lanes), dtype, lanes)


def _describe(spec: Spec) -> tuple[str, str, str]:
    """The name of a spec's kernel, and its dtypes."""
    match spec:
        case Quantise(size, dtype, scale, zero, wide):
            return f"quantise_{'wide' if wide else dtype}_{size}_{scale:.9g}_{zero}", "float32", dtype
        case Dequantise(size, dtype, scale, zero):
            return f"dequantise_{dtype}_{size}_{scale:.9g}_{zero}", dtype, "float32"
        case Convert(size, source, dtype, how):
            numbers = f"{how.zero}_{how.mul}_{how.shift}_{how.out_zero}"
            return f"convert_{source}_{dtype}_{size}_{numbers}", source, dtype


def _changed(spec: Spec, value: Expr, lanes: int) -> Expr:
    """What becomes of a vector."""
    if isinstance(spec, Quantise):
        return quantised(value, spec.inverse_scale, spec.zero, spec.dtype, lanes, spec.wide)
    wide = value.astype(f"int32x{lanes}")
    if isinstance(spec, Dequantise):
        return dequantised(wide, spec.scale, spec.zero, lanes)
    return rescaled(wide, spec.how, spec.dtype, lanes)


@cache
def build(spec: Spec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, y."""
    symbol, source, result = _describe(spec)
    operands = [Operand("x", (spec.size,), source, "input"), Operand("y", (spec.size,), result, "output")]
    whole, rest = divmod(spec.size, BLOCK)

    def body(x: Buffer, y: Buffer) -> None:
        def values(start: Expr, count: int) -> None:
            def vector(lanes: int, first: Expr) -> None:
                store(y, (start + first,), lanes, _changed(spec, load(x, (start + first,), lanes), lanes))

            for_vectors(count, 2 * target.lanes, vector)

        def block(index: Expr) -> None:
            if whole:
                with guarded(index < whole):
                    values(T.bind(index * BLOCK), BLOCK)
            if rest:
                with guarded(index == whole):
                    values(T.bind(index * BLOCK), rest)

        each_row(whole + bool(rest), target, block)

    return define(symbol, operands, body)
