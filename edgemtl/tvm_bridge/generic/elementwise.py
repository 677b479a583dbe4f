"""Operators that treat every element alike, with numpy's broadcasting.

NaN propagates through comparisons such as Relu, Clip, Min and Max, as IEEE 754 `maximum` does and TVM's `max` does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
from tvm import te, tirx

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.exponentials import exp, tanh

Function = Callable[..., Expr]


def broadcast(call: Call, tensors: list[Tensor], function: Function) -> Tensor:
    """function(one element of each tensor) for every element of the broadcast shape."""
    shapes = [tuple(int(n) for n in tensor.shape) for tensor in tensors]
    shape = np.broadcast_shapes(*shapes)

    def element(*index: Expr) -> Expr:
        return function(*(_at(t, s, index) for t, s in zip(tensors, shapes, strict=True)))

    return te.compute(shape, element, name=call.op)


def _at(tensor: Tensor, shape: tuple[int, ...], index: tuple[Expr, ...]) -> Expr:
    """The element that broadcasting puts at ``index``."""
    own = index[len(index) - len(shape) :]
    return tensor(*(i if n > 1 else 0 for i, n in zip(own, shape, strict=True)))


def unary(function: Function) -> Definition:
    """An operator of one operand and no attributes."""
    return lambda call: broadcast(call, [call.main()], function)


def binary(function: Function) -> Definition:
    """An operator of two operands and no attributes."""
    return lambda call: broadcast(call, call.tensors(), function)


def variadic(function: Function) -> Definition:
    """An operator that folds any number of operands, first to last."""

    def define(call: Call) -> Tensor:
        return broadcast(call, call.tensors(), lambda *values: reduce(function, values))

    return define


def with_floats(function: Function, **defaults: float) -> Definition:
    """An operator of one operand and float attributes, passed by name."""

    def define(call: Call) -> Tensor:
        values = {name: m.like(call.main_type, call.attribute(name, default)) for name, default in defaults.items()}
        return broadcast(call, [call.main()], lambda x: function(x, **values))

    return define


def mean(call: Call) -> Tensor:
    """The mean of any number of operands."""
    return broadcast(call, call.tensors(), lambda *values: reduce(lambda a, b: a + b, values) / float(len(values)))


def clip(call: Call) -> Tensor:
    """min(max(x, low), high), either bound left out where it is not given."""
    bounds = {name: apply for name, apply in (("min", m.maximum), ("max", m.minimum)) if call.has(name)}

    def bounded(x: Expr, *values: Expr) -> Expr:
        for apply, bound in zip(bounds.values(), values, strict=True):
            x = apply(x, bound)
        return x

    return broadcast(call, [call.main(), *map(call.tensor, bounds)], bounded)


def cast(call: Call) -> Tensor:
    """To the type of the output; float to integer truncates, anything but zero is true."""
    # How float8 saturates; there is none here.
    call.given("to"), call.given("saturate"), call.given("round_mode")
    (output,), source = call.outputs, call.main_type.dtype

    def convert(x: Expr) -> Expr:
        if output.dtype == "bool":
            return x if source == "bool" else x != tirx.const(0, source)
        return x.astype(output.dtype)

    return broadcast(call, [call.main()], convert)


def gelu(call: Call) -> Tensor:
    """By the error function, or by its tanh approximation."""
    approximate = call.attribute("approximate", "none")
    function = {"none": m.gelu, "tanh": m.gelu_tanh}.get(approximate)
    if function is None:
        raise Refused(f"approximate of Gelu must be none or tanh, not {approximate}")
    return broadcast(call, [call.main()], function)


def modulo(call: Call) -> Tensor:
    """fmod: the sign of the dividend, as C has it; else the sign of the divisor, integers only."""
    is_float = call.main_type.dtype == "float32"
    if call.attribute("fmod", 0):
        function: Function = m.fmod if is_float else tirx.truncmod
    elif is_float:
        raise Refused("Mod of floats must have fmod = 1, not 0")
    else:
        function = tirx.floormod
    return broadcast(call, call.tensors(), function)


def divide(call: Call) -> Tensor:
    """Integers truncate towards zero."""
    is_float = call.main_type.dtype == "float32"
    return broadcast(call, call.tensors(), (lambda a, b: a / b) if is_float else tirx.truncdiv)


def power(call: Call) -> Tensor:
    """In the base's type; the exponent may have another."""
    tensors = call.tensors()
    if call.main_type.dtype == "float32":
        return broadcast(call, tensors, lambda x, y: m.power(x, y.astype("float32")))
    exponent = call.type_of("Y").dtype
    if not exponent.startswith("int"):
        raise Refused(f"the exponent of integers must be an integer, not {exponent}")
    return broadcast(call, tensors, m.integer_power)


def is_inf(call: Call) -> Tensor:
    """Infinities of the signs asked for."""
    positive, negative = call.attribute("detect_positive", 1), call.attribute("detect_negative", 1)

    def has_sign(x: Expr) -> Expr:
        signs = [x == m.f32(math.inf)] * bool(positive) + [x == m.f32(-math.inf)] * bool(negative)
        return reduce(tirx.any, signs) if signs else tirx.const(False, "bool")

    return broadcast(call, [call.main()], has_sign)


def where(call: Call) -> Tensor:
    """The second operand where the first holds, else the third."""
    return broadcast(call, call.tensors(), tirx.Select)


def dropout(call: Call) -> Tensor | list[Tensor]:
    """In inference: the operand itself, and a mask that keeps everything."""
    if call.has("training_mode") and call.constant("training_mode").any():
        raise Refused("Dropout must not be in training mode; export the model in evaluation mode")
    call.given("seed")
    x = call.main()
    same = broadcast(call, [x], lambda value: value)
    ones = [te.compute(x.shape, lambda *_: tirx.const(True, "bool"), name="mask")] * (len(call.outputs) - 1)
    return [same, *ones]


def compared(function: Function) -> Definition:
    """A comparison, of truth values too."""

    def define(call: Call) -> Tensor:
        is_bool = call.main_type.dtype == "bool"
        word: Function = (lambda x: x.astype("int32")) if is_bool else (lambda x: x)
        return broadcast(call, call.tensors(), lambda a, b: function(word(a), word(b)))

    return define


OPERATORS: dict[str, Definition] = {
    "Abs": unary(m.absolute),
    "Acos": unary(m.libm("acosf")),
    "Acosh": unary(m.libm("acoshf")),
    "Add": binary(lambda a, b: a + b),
    "And": binary(tirx.all),
    "Asin": unary(m.libm("asinf")),
    "Asinh": unary(m.libm("asinhf")),
    "Atan": unary(m.libm("atanf")),
    "Atanh": unary(m.libm("atanhf")),
    "BitwiseAnd": binary(lambda a, b: a & b),
    "BitwiseNot": unary(lambda x: ~x),
    "BitwiseOr": binary(lambda a, b: a | b),
    "BitwiseXor": binary(lambda a, b: a ^ b),
    "Cast": cast,
    "Ceil": unary(tirx.ceil),
    "Celu": with_floats(m.celu, alpha=1.0),
    "Clip": clip,
    "Cos": unary(m.libm("cosf")),
    "Cosh": unary(m.libm("coshf")),
    "Div": divide,
    "Dropout": dropout,
    "Elu": with_floats(m.elu, alpha=1.0),
    "Equal": compared(lambda a, b: a == b),
    "Erf": unary(m.erf),
    "Exp": unary(exp),
    "Floor": unary(tirx.floor),
    "Gelu": gelu,
    "Greater": compared(lambda a, b: a > b),
    "GreaterOrEqual": compared(lambda a, b: a >= b),
    "HardSigmoid": with_floats(m.hard_sigmoid, alpha=0.2, beta=0.5),
    "HardSwish": unary(m.hard_swish),
    "Identity": unary(lambda x: x),
    "IsInf": is_inf,
    "IsNaN": unary(m.is_nan),
    "LeakyRelu": with_floats(m.leaky_relu, alpha=0.01),
    "Less": compared(lambda a, b: a < b),
    "LessOrEqual": compared(lambda a, b: a <= b),
    "Log": unary(m.libm("logf")),
    "Max": variadic(m.maximum),
    "Mean": mean,
    "Min": variadic(m.minimum),
    "Mish": unary(m.mish),
    "Mod": modulo,
    "Mul": binary(lambda a, b: a * b),
    "Neg": unary(lambda x: -x),
    "Not": unary(lambda x: ~x),
    "Or": binary(tirx.any),
    "PRelu": binary(lambda x, slope: m.leaky_relu(x, slope)),
    "Pow": power,
    "Reciprocal": unary(lambda x: m.f32(1) / x),
    "Relu": unary(m.relu),
    "Round": unary(tirx.nearbyint),
    "Selu": with_floats(m.selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Shrink": with_floats(m.shrink, bias=0.0, lambd=0.5),
    "Sigmoid": unary(m.sigmoid),
    "Sign": unary(m.sign),
    "Sin": unary(m.libm("sinf")),
    "Sinh": unary(m.libm("sinhf")),
    "Softplus": unary(m.softplus),
    "Softsign": unary(lambda x: x / (m.f32(1) + m.absolute(x))),
    "Sqrt": unary(tirx.sqrt),
    "Sub": binary(lambda a, b: a - b),
    "Sum": variadic(lambda a, b: a + b),
    "Swish": with_floats(lambda x, alpha: x * m.sigmoid(alpha * x), alpha=1.0),
    "Tan": unary(m.libm("tanf")),
    "Tanh": unary(tanh),
    "ThresholdedRelu": with_floats(lambda x, alpha: tirx.Select(x > alpha, x, m.f32(0)), alpha=1.0),
    "Where": where,
    "Xor": compared(lambda a, b: a != b),
}
