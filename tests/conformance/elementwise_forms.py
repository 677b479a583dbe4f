"""Forms of operators that treat every element alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.opsets import opsets_of

SHAPE = (2, 3, 7)
UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish Identity Log Mish Neg Reciprocal Relu "
    "Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh"
).split()
FLOATS: dict[str, list[dict[str, float]]] = {
    "Celu": [{}, {"alpha": 2.5}],
    "Elu": [{}, {"alpha": 0.3}],
    "HardSigmoid": [{}, {"alpha": 1 / 6, "beta": 0.25}],
    "LeakyRelu": [{}, {"alpha": 0.2}],
    "Selu": [{}, {"alpha": 1.2, "gamma": 0.7}],
    "Shrink": [{}, {"lambd": 1.0, "bias": 0.25}],
    "Swish": [{}, {"alpha": 1.7}],
    "ThresholdedRelu": [{}, {"alpha": 0.1}],
}
BINARY = "Add Sub Mul Div Equal Greater GreaterOrEqual Less LessOrEqual".split()
VARIADIC = "Max Min Mean Sum".split()
BROADCASTS = (((2, 3, 7), (7,)), ((3, 1), (2, 1, 7)), ((2, 3, 7), ()))


def forms() -> Iterator[Form]:
    for op in UNARY:
        for opset in opsets_of(op):
            for scale in (1.0, 1e-3, 20.0):
                yield Form(op, opset, (Computed(SHAPE, scale=scale),), label=f"scale {scale}")
            yield Form(op, opset, (Computed(SHAPE, special=True),), label="NaN and infinity")
    for op, settings in FLOATS.items():
        for opset in opsets_of(op):
            for attributes in settings:
                yield Form(op, opset, (Computed(SHAPE, scale=3.0),), attributes)
            yield Form(op, opset, (Computed(SHAPE, special=True),), label="NaN and infinity")
    yield from _binary()
    yield from _others()
    yield from _integers()


def _binary() -> Iterator[Form]:
    for op in BINARY:
        # Before opset 11 Equal takes no floats, and before 9 a comparison takes nothing else.
        for opset in (o for o in opsets_of(op) if op != "Equal" or o >= 11):
            for a, b in BROADCASTS:
                yield Form(op, opset, (Computed(a), Computed(b) if b else np.float32(0.5)))
            yield Form(op, opset, (Computed(SHAPE, special=True), Computed(SHAPE)), label="NaN and infinity")
    for op in VARIADIC:
        for opset in opsets_of(op):
            for count in (1, 2, 3):
                yield Form(op, opset, tuple(Computed(((3, 1), (2, 1, 7), (7,))[i]) for i in range(count)))
            for first in (True, False):
                label = f"NaN {'first' if first else 'second'}"
                operands = (Computed(SHAPE, special=first), Computed(SHAPE, special=not first))
                yield Form(op, opset, operands, label=label)
        # Twenty levels of a comparison that were each written out twice would not end.
        yield Form(op, max(opsets_of(op)), tuple(Computed(SHAPE) for _ in range(20)), label="20 operands")
        many = (*(Computed(SHAPE) for _ in range(4)), Computed(SHAPE, special=True))
        yield Form(op, max(opsets_of(op)), many, label="5 operands, NaN last")


def _others() -> Iterator[Form]:
    low, high = np.float32(-0.5), np.float32(0.75)
    for opset in opsets_of("Clip"):
        if opset < 11:
            for attributes in ({}, {"min": -0.5}, {"max": 0.75}, {"min": -0.5, "max": 0.75}):
                yield Form("Clip", opset, (Computed(SHAPE),), attributes)
            continue
        for bounds in ((), (low,), (None, high), (low, high), (high, low)):
            yield Form("Clip", opset, (Computed(SHAPE), *bounds), label=f"bounds {bounds}")
        yield Form("Clip", opset, (Computed(SHAPE, special=True), low, high), label="NaN and infinity")
    for opset in opsets_of("Gelu"):
        for approximate in ("none", "tanh"):
            yield Form("Gelu", opset, (Computed(SHAPE, scale=3.0),), {"approximate": approximate})
    for opset in opsets_of("PRelu"):
        for slope in (np.array(0.3, np.float32), np.linspace(-1, 1, 3, dtype=np.float32).reshape(3, 1), Computed((7,))):
            yield Form("PRelu", opset, (Computed(SHAPE), slope))
    for opset in opsets_of("Pow"):
        for exponent in (2.0, 3.0, 0.5, -1.0, 0.0):
            yield Form("Pow", opset, (Computed(SHAPE), np.float32(exponent)), label=f"to {exponent}")
        if opset >= 12:
            for dtype in (np.int32, np.int64):
                yield Form("Pow", opset, (Computed(SHAPE), np.array(3, dtype)), label=f"{dtype.__name__} exponent")
            yield Form("Pow", opset, (Computed(SHAPE, "int64"), np.array(2, np.int64)), label="integers")
    for opset in opsets_of("IsInf"):
        for positive, negative in ((1, 1), (1, 0), (0, 1), (0, 0)):
            attributes = {"detect_positive": positive, "detect_negative": negative}
            yield Form("IsInf", opset, (Computed(SHAPE, special=True),), attributes)
    for opset in opsets_of("IsNaN"):
        yield Form("IsNaN", opset, (Computed(SHAPE, special=True),))
    for opset in opsets_of("Where"):
        yield Form("Where", opset, (Computed((3, 1), "bool"), Computed(SHAPE), Computed((7,))))
        yield Form("Where", opset, (Computed(SHAPE, "bool"), np.float32(-1e9), Computed(SHAPE)))
        mask = np.array([True, False, True, True, False, False, True])
        yield Form("Where", opset, (mask, Computed(SHAPE), np.float32(-1e9)), label="constant mask")
    for opset in opsets_of("Mod"):
        yield Form("Mod", opset, (Computed(SHAPE), np.float32(0.7)), {"fmod": 1})
        for fmod in (0, 1):
            operands = (Computed(SHAPE, "int64"), np.array([3, -3, 2, 1, -1, 5, -2], np.int64))
            yield Form("Mod", opset, operands, {"fmod": fmod})
    for op in ("And", "Or", "Xor"):
        for opset in opsets_of(op):
            yield Form(op, opset, (Computed(SHAPE, "bool"), Computed((3, 1), "bool")))
            yield Form(op, opset, (Computed(SHAPE, "bool"), np.array([[True], [False], [True]])), label="constant")
    for opset in opsets_of("Not"):
        yield Form("Not", opset, (Computed(SHAPE, "bool"),))
    for opset in opsets_of("Dropout"):
        yield Form("Dropout", opset, (Computed(SHAPE),))
        yield Form("Dropout", opset, (Computed(SHAPE),), outputs=2, output=1, label="mask")


def _integers() -> Iterator[Form]:
    for dtype in ("int32", "int64"):
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Less", "BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            *_, opset = opsets_of(op)
            operands = (Computed(SHAPE, dtype), np.array([-3, 2, 1, -1, 4, 7, 2], dtype))
            yield Form(op, opset, operands, label=dtype)
        for op in ("Abs", "Neg", "Sign", "BitwiseNot", "Relu"):
            *_, opset = opsets_of(op)
            yield Form(op, opset, (Computed(SHAPE, dtype),), label=dtype)
    kinds = {"float32": 1, "int32": 6, "int64": 7, "bool": 9}
    for opset in opsets_of("Cast"):
        for source in kinds:
            for target, code in kinds.items():
                x = Computed(SHAPE, source, scale=3.0)
                yield Form("Cast", opset, (x,), {"to": code}, label=f"{source} to {target}")
