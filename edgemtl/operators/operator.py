"""What an operator is: its sizes, the operands it reads and writes by name, and what it computes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Frame = Mapping[str, Array]
"""The inputs of one run, by name."""


@dataclass(frozen=True)
class TensorType:
    """Shape and numpy dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, packed."""
        return self.size * np.dtype(self.dtype).itemsize


Types = Mapping[str, TensorType]


@dataclass(frozen=True)
class Misfit:
    """What an operand is, and what a signature says it must be."""

    what: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.what} must be {self.expected}, not {self.actual}"


@dataclass(frozen=True)
class Signature:
    """The operands of an operator by name, in the order a kernel takes them.

    repeated: constants there are ``repeats`` times, once for each expert; they precede the others, all of an expert
    together.
    """

    inputs: Types
    outputs: Types
    constants: Types = field(default_factory=dict)
    repeated: Types = field(default_factory=dict)
    repeats: int = 0

    def constant_position(self, name: str, expert: int | None = None) -> int:
        """Where a constant lies among an operator's; ``expert`` says which of a repeated one. Raises KeyError."""
        if name in self.repeated:
            if expert is None or not 0 <= expert < self.repeats:
                raise KeyError(f"{name} of expert {expert}")
            return expert * len(self.repeated) + list(self.repeated).index(name)
        if expert is not None or name not in self.constants:
            raise KeyError(name)
        return self.repeats * len(self.repeated) + list(self.constants).index(name)

    @property
    def constant_count(self) -> int:
        """How many constants there are."""
        return self.repeats * len(self.repeated) + len(self.constants)

    def find_misfit(
        self, inputs: Sequence[TensorType], outputs: Sequence[TensorType], constants: Sequence[TensorType]
    ) -> Misfit | None:
        """The first thing by which operands differ from the signature."""
        counts = {"inputs": len(self.inputs), "outputs": len(self.outputs), "constants": self.constant_count}
        for side, types in (("inputs", inputs), ("outputs", outputs), ("constants", constants)):
            if len(types) != counts[side]:
                return Misfit(f"the number of {side}", str(counts[side]), str(len(types)))
        expected = (*self.inputs.items(), *self.outputs.items(), *self.constant_types)
        pairs = zip(expected, (*inputs, *outputs, *constants), strict=True)
        return next((Misfit(name, str(kind), str(actual)) for (name, kind), actual in pairs if kind != actual), None)

    @property
    def constant_types(self) -> tuple[tuple[str, TensorType], ...]:
        """Name and type of every constant, in order."""
        return (*(list(self.repeated.items()) * self.repeats), *self.constants.items())


Product = Callable[[Array, Array], Array]
"""a @ b of float32 arrays, batched as in numpy. numpy's own adds in an order that depends on its threads."""


class Values:
    """The arrays an operator computes with, its inputs and constants by name, and how it multiplies matrices."""

    def __init__(
        self, signature: Signature, inputs: Sequence[Array], constants: Sequence[Array], multiply: Product
    ) -> None:
        self._signature, self._constants, self.multiply = signature, constants, multiply
        self._inputs = dict(zip(signature.inputs, inputs, strict=True))

    def __getitem__(self, name: str) -> Array:
        """The input of this name, or the constant there is once."""
        if name in self._inputs:
            return self._inputs[name]
        return self._constants[self._signature.constant_position(name)]

    def of(self, name: str, expert: int) -> Array:
        """An expert's constant."""
        return self._constants[self._signature.constant_position(name, expert)]


class Operator(ABC):
    """One kind of computation with its sizes; subclasses are frozen dataclasses. Equal operators share a kernel."""

    delivers: ClassVar[bool] = True
    """Whether the result is a layer's of the model, not the same value in another type or place."""
    strided: ClassVar[bool] = False
    """Whether operands may have gaps or another order of axes than row-major."""

    @property
    @abstractmethod
    def signature(self) -> Signature:
        """The operands by name."""

    def compute(self, values: Values) -> tuple[Array, ...]:
        """The outputs in the order of the signature.

        Float operators in numpy, integer ones by `edgemtl.hw.law`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no definition in numpy")

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return 0

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what calibration observes besides the output: sums in front of a curve, or q, k and v."""
        return ()

    def part(self, name: str, values: Values) -> Array:
        """One of ``parts``."""
        raise KeyError(name)

    @property
    def label(self) -> str:
        """What a comparison calls a step that stands for an inner part of its nodes."""
        return type(self).__name__.lower()


def float32(*shape: int) -> TensorType:
    """A tensor of float32."""
    return TensorType(shape, "float32")


def int8(*shape: int) -> TensorType:
    """A tensor of int8."""
    return TensorType(shape, "int8")


def uint8(*shape: int) -> TensorType:
    """A tensor of uint8."""
    return TensorType(shape, "uint8")


def int16(*shape: int) -> TensorType:
    """A tensor of int16."""
    return TensorType(shape, "int16")


def int32(*shape: int) -> TensorType:
    """A tensor of int32."""
    return TensorType(shape, "int32")


def activation(wide: bool, *shape: int) -> TensorType:
    """A tensor of what a layer with weights reads: int8, or 12 bits in int16 where ``wide``."""
    return int16(*shape) if wide else int8(*shape)
