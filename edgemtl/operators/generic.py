"""Integer forms of generic nodes: products of computed matrices, softmax, over rows that a copy brings together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgemtl.hw import law_generic
from edgemtl.hw.law import Finish
from edgemtl.operators.elementwise import Integer
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, int8, int32


@dataclass(frozen=True)
class QProduct(Operator):
    """`law_generic.product`: int8 ``a`` [.., M, K] times int8 ``b`` [.., K, N]; ``constant`` names the one that is."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    zeros: tuple[int, int]
    mul: int
    shift: int
    how: Finish
    constant: Literal["", "a", "b"] = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return (*np.broadcast_shapes(self.a[:-2], self.b[:-2]), self.a[-2], self.b[-1])

    @property
    def label(self) -> str:
        return "product"

    @property
    def signature(self) -> Signature:
        operands: dict[str, TensorType] = {"a": int8(*self.a), "b": int8(*self.b)}
        inputs = {name: kind for name, kind in operands.items() if name != self.constant}
        constants = {name: kind for name, kind in operands.items() if name not in inputs}
        return Signature(inputs, {"y": TensorType(self.shape, self.how.dtype)}, constants)

    @property
    def macs(self) -> int:
        return math.prod(self.shape) * self.a[-1]

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_generic.product(values["a"], values["b"], self.zeros, self.mul, self.shift, self.how),)


@dataclass(frozen=True)
class QSoftmax(Operator):
    """`law_generic.softmax` of rows [rows, width]. ``scale`` of distances and ``out_scale`` are (mul, shift)."""

    rows: int
    width: int
    dtype: Integer
    scale: tuple[int, int]
    out_scale: tuple[int, int]
    how: Finish

    @property
    def label(self) -> str:
        return "softmax"

    @property
    def signature(self) -> Signature:
        shape = self.rows, self.width
        return Signature({"x": TensorType(shape, self.dtype)}, {"y": TensorType(shape, self.how.dtype)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_generic.softmax(values["x"], *self.scale, *self.out_scale, self.how),)


@dataclass(frozen=True)
class QMove(Operator):
    """`law_generic.move` of blocks of ``width`` elements: ``count`` of x and ``fills`` constant ones to ``rows``."""

    delivers = False

    count: int
    fills: int
    width: int
    rows: int
    dtype: Integer

    @property
    def label(self) -> str:
        return "move"

    @property
    def signature(self) -> Signature:
        x, y, fill = (TensorType((blocks, self.width), self.dtype) for blocks in (self.count, self.rows, self.fills))
        return Signature({"x": x}, {"y": y}, {"fill": fill, "index": int32(self.rows)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_generic.move(values["x"], values["fill"], values["index"]),)


@dataclass(frozen=True)
class QNormalise(Operator):
    """`law_generic.normalise` of rows [rows, width] that stand for 0 at ``zero``."""

    region: law_generic.NormRows
    dtype: Integer
    zero: int
    epsilon: int
    is_centred: bool
    how: Finish

    @property
    def label(self) -> str:
        return "normalise"

    @property
    def signature(self) -> Signature:
        shape, parameters = (self.region.rows, self.region.width), int32(self.region.parameters)
        constants = {"scale": parameters, "offset": parameters}
        return Signature({"x": TensorType(shape, self.dtype)}, {"y": TensorType(shape, self.how.dtype)}, constants)

    def compute(self, values: Values) -> tuple[Array, ...]:
        numbers = self.zero, self.epsilon, self.is_centred, self.region
        return (law_generic.normalise(values["x"], *numbers, values["scale"], values["offset"], self.how),)
