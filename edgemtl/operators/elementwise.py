"""Operators that treat every element alike: sums and products with numpy's broadcasting, activations on their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgemtl.hw import law_weightless
from edgemtl.hw.law import Finish
from edgemtl.operators.activations import activate
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32, int8, int16

Integer = Literal["int8", "int16"]


@dataclass(frozen=True)
class _Binary(Operator):
    """Two operands of shapes ``a`` and ``b``; the result has the shape they broadcast to."""

    a: tuple[int, ...]
    b: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return np.broadcast_shapes(self.a, self.b)

    def _signature(self, a: Integer, b: Integer, how: Finish, is_constant: bool) -> Signature:
        """The integer operands; b is an input, or a constant."""
        inputs, other = {"a": TensorType(self.a, a)}, {"b": TensorType(self.b, b)}
        outputs = {"y": TensorType(self.shape, how.dtype)}
        return Signature(inputs, outputs, other) if is_constant else Signature(inputs | other, outputs)


@dataclass(frozen=True)
class Add(_Binary):
    """a + b, then ``activation``, which is "relu" or "" for none."""

    activation: str = ""

    @property
    def signature(self) -> Signature:
        return Signature({"a": float32(*self.a), "b": float32(*self.b)}, {"y": float32(*self.shape)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (activate(values["a"] + values["b"], self.activation),)


@dataclass(frozen=True)
class Multiply(_Binary):
    """a * b."""

    @property
    def signature(self) -> Signature:
        return Signature({"a": float32(*self.a), "b": float32(*self.b)}, {"y": float32(*self.shape)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (values["a"] * values["b"],)


@dataclass(frozen=True)
class QAdd(_Binary):
    """`law_weightless.add` of int8 or int16 operands, each with a multiplier of its own; b may be a constant."""

    a_dtype: Integer
    b_dtype: Integer
    muls: tuple[int, int]
    offset: int
    shift: int
    how: Finish
    constant: bool = False

    @property
    def label(self) -> str:
        return "add"

    @property
    def signature(self) -> Signature:
        return self._signature(self.a_dtype, self.b_dtype, self.how, self.constant)

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.add(values["a"], values["b"], self.muls, self.offset, self.shift, self.how),)


@dataclass(frozen=True)
class QMultiply(_Binary):
    """`law_weightless.multiply` of int8 operands that stand for 0 at ``zeros``; b may be a constant."""

    zeros: tuple[int, int]
    mul: int
    shift: int
    how: Finish
    constant: bool = False

    @property
    def label(self) -> str:
        return "multiply"

    @property
    def signature(self) -> Signature:
        return self._signature("int8", "int8", self.how, self.constant)

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.multiply(values["a"], values["b"], self.zeros, self.mul, self.shift, self.how),)


@dataclass(frozen=True)
class Activate(Operator):
    """An activation of float32 [size] that no layer in front of it can take along."""

    size: int
    activation: str

    @property
    def signature(self) -> Signature:
        return Signature({"x": float32(self.size)}, {"y": float32(self.size)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (activate(values["x"], self.activation),)


@dataclass(frozen=True)
class QCurve(Operator):
    """`law_weightless.curve`: int16 [size] by a table of knots."""

    size: int

    @property
    def label(self) -> str:
        return "curve"

    @property
    def signature(self) -> Signature:
        x = int16(self.size)
        return Signature({"x": x}, {"y": x}, {"table": int16(law_weightless.CURVE_KNOTS)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.curve(values["x"], values["table"]),)


@dataclass(frozen=True)
class QLookup(Operator):
    """`law_weightless.lookup`: int8 [rows, columns] by one table of 256 bytes, or by one for each column."""

    rows: int
    columns: int
    by_column: bool = False

    @property
    def label(self) -> str:
        return "lookup"

    @property
    def signature(self) -> Signature:
        x = int8(self.rows, self.columns)
        return Signature({"x": x}, {"y": x}, {"table": int8(self.columns if self.by_column else 1, 256)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.lookup(values["x"], values["table"]),)
