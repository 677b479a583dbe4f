"""exp and what is made of it, in arithmetic alone: LLVM makes vectors of it, of a call of libm it makes none.

With n the integer nearest to x / ln(2) and r = x - n ln(2), exp(x) = 2^n (1 + r + r^2 q(r)); |r| is at most ln(2) / 2.
Errors are a few ulp, near zero too, where a function goes through zero (tests/tvm_bridge/generic/test_accuracy.py).
"""

from __future__ import annotations

import math

from tvm import tirx

from edgemtl.tvm_bridge.generic.call import Expr
from edgemtl.tvm_bridge.kernels.emit import ROUNDING, f32, i32

# (exp(r) - 1 - r) / r^2, highest power first: least squares reweighted to an error of exp below 4e-9.
QUOTIENT = (
    0.0013950602151453495, 0.008368953131139278, 0.04166620597243309, 0.166665181517601, 0.5,
)  # fmt: skip
# ln(2) in two parts: n times the first, of 10 bits, is exact.
LN2_HIGH = 0.693359375
LN2_LOW = math.log(2) - LN2_HIGH
# Below, exp is 0 in float32; above, infinity.
LEAST, MOST = -104.0, 89.0


def exp(x: Expr) -> Expr:
    """exp(x): 0, subnormal numbers and infinity where float32 has these, NaN where x is NaN."""
    power, rest = _split(_between(x, LEAST, MOST))
    # In two steps: 2^n alone leaves float32 where its product does not.
    half = power >> i32(1)
    return (f32(1) + rest) * _two_to(half) * _two_to(power - half)


def expm1(x: Expr) -> Expr:
    """exp(x) - 1, near zero too."""
    power, rest = _split(_between(x, LEAST, MOST))
    half = power >> i32(1)
    other = power - half
    return (_two_to(half) * rest + (_two_to(half) - _two_to(-other))) * _two_to(other)


def tanh(x: Expr) -> Expr:
    """tanh(x) = -e / (e + 2) with e = exp(-2 |x|) - 1, and the sign of x."""
    e = expm1(f32(-2) * tirx.abs(x))
    value = -e / (e + f32(2))
    return tirx.Select(x < f32(0), -value, value)


def _between(x: Expr, low: float, high: float) -> Expr:
    """x between two bounds; NaN stays NaN."""
    return tirx.Select(x < f32(low), f32(low), tirx.Select(x > f32(high), f32(high), x))


def _split(x: Expr) -> tuple[Expr, Expr]:
    """n, and exp(r) - 1."""
    # Adding it leaves the nearest integer in the low bits. Through its bits, or TVM's simplifier cancels it again.
    shifted = tirx.reinterpret("int32", x * f32(1 / math.log(2)) + f32(ROUNDING))
    power = shifted - tirx.reinterpret("int32", f32(ROUNDING))
    n = tirx.reinterpret("float32", shifted) - f32(ROUNDING)
    r = x - n * f32(LN2_HIGH) - n * f32(LN2_LOW)
    quotient = f32(QUOTIENT[0])
    for coefficient in QUOTIENT[1:]:
        quotient = quotient * r + f32(coefficient)
    return power, quotient * r * r + r


def _two_to(power: Expr) -> Expr:
    """2^n for n from -126 to 127."""
    return tirx.reinterpret("float32", (power + i32(127)) << i32(23))
