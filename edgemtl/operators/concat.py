"""Values side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemtl.hw import law_weightless
from edgemtl.operators.elementwise import Integer
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32


@dataclass(frozen=True)
class _Concat(Operator):
    """Inputs x0, x1, ... [rows, width], of a width each, to [rows, sum of widths]."""

    delivers = False

    rows: int
    widths: tuple[int, ...]

    @property
    def label(self) -> str:
        return "concat"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(f"x{index}" for index in range(len(self.widths)))


@dataclass(frozen=True)
class Concat(_Concat):
    """float32 as it is."""

    @property
    def signature(self) -> Signature:
        inputs = {name: float32(self.rows, width) for name, width in zip(self.names, self.widths, strict=True)}
        return Signature(inputs, {"y": float32(self.rows, sum(self.widths))})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (np.concatenate([values[name] for name in self.names], 1),)


@dataclass(frozen=True)
class QConcat(_Concat):
    """`law_weightless.rescale` of each input to the scale of the result; one that has it is copied."""

    scales: tuple[law_weightless.Rescale, ...]
    dtypes: tuple[Integer, ...]
    dtype: Integer

    @property
    def signature(self) -> Signature:
        parts = zip(self.names, self.widths, self.dtypes, strict=True)
        inputs = {name: TensorType((self.rows, width), dtype) for name, width, dtype in parts}
        return Signature(inputs, {"y": TensorType((self.rows, sum(self.widths)), self.dtype)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        pairs = zip(self.names, self.scales, strict=True)
        return (np.concatenate([law_weightless.rescale(values[name], how, self.dtype) for name, how in pairs], 1),)
