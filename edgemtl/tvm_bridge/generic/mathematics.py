"""Functions of one element: exact where arithmetic is, else within a few ulp of the real function.

exp, erf and what is made of them are arithmetic, which becomes vectors. Others, as log and sin, are libm's own, whose
error is below 1 ulp to 2 ulp (glibc manual, "Known Maximum Errors in Math Functions"): TVM's expressions for log1p and
the like lose their digits near zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx

from edgemtl.operators import TensorType
from edgemtl.tvm_bridge.generic.call import Expr
from edgemtl.tvm_bridge.generic.exponentials import exp, expm1, tanh
from edgemtl.tvm_bridge.kernels.emit import erf as vector_erf


def f32(value: float) -> Expr:
    """A float32 constant."""
    return tirx.const(value, "float32")


def dtype_of(x: Expr) -> str:
    """The numpy name of an expression's type."""
    return str(x.ty)


def const(value: float, x: Expr) -> Expr:
    """A constant of the type of ``x``."""
    return tirx.const(value, dtype_of(x))


def like(kind: TensorType, value: float) -> Expr:
    """A constant of an operand's type."""
    return tirx.const(int(value) if kind.dtype.startswith("int") else value, kind.dtype)


def double(x: Expr) -> Expr:
    """x in float64, for sums of many."""
    return x.astype("float64")


def libm(name: str) -> Callable[[Expr], Expr]:
    """A function of libm by its C name."""
    return lambda x: tirx.call_pure_extern("float32", name, x)


log1pf = libm("log1pf")


def is_nan(x: Expr) -> Expr:
    """Whether x is NaN: by its bits, since TVM's simplifier takes x != x for false."""
    bits = tirx.reinterpret("int32", x) & tirx.const(0x7FFFFFFF, "int32")
    return bits > tirx.const(0x7F800000, "int32")


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger of two; NaN where either is."""
    return _ordered("llvm.maximum", a, b) if dtype_of(a) == "float32" else tirx.Select(a > b, a, b)


def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller of two; NaN where either is."""
    return _ordered("llvm.minimum", a, b) if dtype_of(a) == "float32" else tirx.Select(a < b, a, b)


def _ordered(name: str, a: Expr, b: Expr) -> Expr:
    """Maximum or minimum of IEEE 754-2019. A comparison that names its operands twice would double in every fold."""
    return tirx.call_llvm_pure_intrin("float32", name, a, b)


def absolute(x: Expr) -> Expr:
    """|x|."""
    return tirx.abs(x)


def relu(x: Expr) -> Expr:
    """max(x, 0); NaN stays NaN."""
    zero = const(0, x)
    return tirx.Select(x < zero, zero, x)


def sign(x: Expr) -> Expr:
    """-1, 0 or 1; NaN stays NaN."""
    zero, one = const(0, x), const(1, x)
    signed = tirx.Select(x > zero, one, tirx.Select(x < zero, -one, zero))
    return tirx.Select(is_nan(x), x, signed) if dtype_of(x) == "float32" else signed


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x))."""
    return f32(1) / (f32(1) + exp(-x))


def softplus(x: Expr) -> Expr:
    """log(1 + exp(x)) without overflow and without losing small results."""
    return maximum(x, f32(0)) + log1pf(exp(-absolute(x)))


def mish(x: Expr) -> Expr:
    """x tanh(softplus(x)); tanh(log(1 + n)) = n (n + 2) / (n (n + 2) + 2) with n = exp(x), 1 in float32 from 20 on."""
    n = exp(minimum(x, f32(20)))
    product = n * (n + f32(2))
    return x * (product / (product + f32(2)))


def erf(x: Expr) -> Expr:
    """erf(x); NaN stays NaN."""
    return tirx.Select(is_nan(x), x, vector_erf(x))


def gelu(x: Expr) -> Expr:
    """x / 2 (1 + erf(x / sqrt(2)))."""
    return f32(0.5) * x * (f32(1) + erf(x * f32(math.sqrt(0.5))))


def gelu_tanh(x: Expr) -> Expr:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    return f32(0.5) * x * (f32(1) + tanh(f32(math.sqrt(2 / math.pi)) * (x + f32(0.044715) * x * x * x)))


def elu(x: Expr, alpha: Expr) -> Expr:
    """x, below zero alpha (exp(x) - 1)."""
    return tirx.Select(x < f32(0), alpha * expm1(x), x)


def selu(x: Expr, alpha: Expr, gamma: Expr) -> Expr:
    """gamma elu(x, alpha)."""
    return gamma * elu(x, alpha)


def celu(x: Expr, alpha: Expr) -> Expr:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return tirx.Select(x < f32(0), alpha * expm1(x / alpha), x)


def leaky_relu(x: Expr, alpha: Expr) -> Expr:
    """x, below zero alpha x."""
    return tirx.Select(x < const(0, x), alpha * x, x)


def hard_sigmoid(x: Expr, alpha: Expr, beta: Expr) -> Expr:
    """alpha x + beta between 0 and 1."""
    return maximum(minimum(alpha * x + beta, f32(1)), f32(0))


def hard_swish(x: Expr) -> Expr:
    """x hard_sigmoid(x) with slope 1/6."""
    return x * hard_sigmoid(x, f32(1 / 6), f32(0.5))


def shrink(x: Expr, bias: Expr, lambd: Expr) -> Expr:
    """Towards zero by bias outside of [-lambd, lambd], zero inside."""
    return tirx.Select(x < -lambd, x + bias, tirx.Select(x > lambd, x - bias, const(0, x)))


def fmod(x: Expr, y: Expr) -> Expr:
    """The remainder of x / y with the sign of x."""
    return tirx.call_pure_extern("float32", "fmodf", x, y)


def power(x: Expr, y: Expr) -> Expr:
    """x to the power y, as C's powf."""
    return tirx.call_pure_extern("float32", "powf", x, y)


def integer_power(x: Expr, y: Expr) -> Expr:
    """x to the power y of integers, truncated to x's type; exact below 2^53, as C's pow of doubles."""
    value = tirx.call_pure_extern("float64", "pow", x.astype("float64"), y.astype("float64"))
    return tirx.trunc(value).astype(dtype_of(x))


def log64(x: Expr) -> Expr:
    """The natural logarithm of a float64."""
    return tirx.call_pure_extern("float64", "log", x)
