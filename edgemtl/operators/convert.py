"""The same values in another type or another place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgemtl.hw import law, law_weightless
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32, uint8


@dataclass(frozen=True)
class Quantise(Operator):
    """`law.quantise` of float32 [size] to int8 or int16 [size], behind a layer that is kept in float.

    Where it is ``wide`` it gives 12 bits in int16.
    """

    delivers = False

    size: int
    dtype: Literal["int8", "int16"]
    inverse_scale: float
    zero: int
    wide: bool = False

    @property
    def signature(self) -> Signature:
        return Signature({"x": float32(self.size)}, {"y": TensorType((self.size,), self.dtype)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law.quantise(values["x"], self.inverse_scale, self.zero, self.dtype, self.wide),)


@dataclass(frozen=True)
class Dequantise(Operator):
    """`law.dequantise` of int8 or int16 [size] to float32 [size], in front of a layer that is kept in float."""

    delivers = False

    size: int
    dtype: str
    scale: float
    zero: int

    @property
    def signature(self) -> Signature:
        return Signature({"x": TensorType((self.size,), self.dtype)}, {"y": float32(self.size)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law.dequantise(values["x"], self.scale, self.zero),)


@dataclass(frozen=True)
class Convert(Operator):
    """`law_weightless.rescale` of integers [size] to another type and scale."""

    delivers = False

    size: int
    source: Literal["int8", "int16"]
    dtype: Literal["int8", "int16"]
    how: law_weightless.Rescale

    @property
    def signature(self) -> Signature:
        return Signature({"x": TensorType((self.size,), self.source)}, {"y": TensorType((self.size,), self.dtype)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.rescale(values["x"], self.how, self.dtype),)


@dataclass(frozen=True)
class Widen(Operator):
    """The numbers that bytes are: uint8 [size] to int64 [size], as class maps are given."""

    delivers = False

    size: int

    @property
    def signature(self) -> Signature:
        return Signature({"x": uint8(self.size)}, {"y": TensorType((self.size,), "int64")})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (values["x"].astype(np.int64),)


@dataclass(frozen=True)
class Copy(Operator):
    """Copy elements of 4 bytes, or of whole words of 4 bytes, between two strided views of one shape.

    Strides count words; elements of several words have these as their last axis.
    """

    delivers = False
    strided = True

    shape: tuple[int, ...]
    source_strides: tuple[int, ...]
    target_strides: tuple[int, ...]

    @property
    def signature(self) -> Signature:
        words = float32(*self.shape)
        return Signature({"x": words}, {"y": words})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (values["x"],)


@dataclass(frozen=True)
class QCopy(Operator):
    """Copy elements of ``itemsize`` 1 or 2 bytes between two strided views of one shape; strides count elements."""

    delivers = False
    strided = True

    itemsize: int
    shape: tuple[int, ...]
    source_strides: tuple[int, ...]
    target_strides: tuple[int, ...]

    @property
    def signature(self) -> Signature:
        elements = TensorType(self.shape, f"int{8 * self.itemsize}")
        return Signature({"x": elements}, {"y": elements})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (values["x"],)
