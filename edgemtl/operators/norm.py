"""LayerNorm over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemtl.hw import law
from edgemtl.operators.operator import Array, Operator, Signature, Values, activation, float32, int8, int16


def normalised(x: Array, epsilon: float) -> Array:
    """Rows without their mean and deviation, in float32."""
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + epsilon)
    return np.asarray((centred / deviation).astype(np.float32))


@dataclass(frozen=True)
class LayerNorm(Operator):
    """Y = (X - mean) / sqrt(variance + epsilon) * scale + shift over rows of ``dim``."""

    rows: int
    dim: int
    epsilon: float

    @property
    def signature(self) -> Signature:
        rows = float32(self.rows, self.dim)
        return Signature({"x": rows}, {"y": rows}, {"scale": float32(self.dim), "shift": float32(self.dim)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (normalised(values["x"], self.epsilon) * values["scale"] + values["shift"],)


@dataclass(frozen=True)
class QLayerNorm(Operator):
    """`law.layer_norm`: int16 [rows, dim] to int8 [rows, dim], or to int16 of 12 bits where ``wide``."""

    rows: int
    dim: int
    epsilon: int
    mul: int
    shift: int
    wide: bool = False

    @property
    def signature(self) -> Signature:
        constants = {"halvings": int8(self.dim), "offset": int8(self.dim)}
        y = activation(self.wide, self.rows, self.dim)
        return Signature({"x": int16(self.rows, self.dim)}, {"y": y}, constants)

    @property
    def leaves_shift(self) -> bool:
        """Whether the shift of every row of unequal values is left for kernels, which drop low bits of products first.

        Such a row has n^2 times its variance at least n - 1; with epsilon that bounds the exponent of its root.
        """
        exponent = ((self.dim - 1 + self.epsilon).bit_length() + 1) // 2 - 17
        dropped = (self.dim - 1).bit_length() + 2
        return 16 + exponent + self.shift > dropped

    def compute(self, values: Values) -> tuple[Array, ...]:
        sizes = self.epsilon, self.mul, self.shift
        return (law.layer_norm(values["x"], *sizes, values["halvings"], values["offset"], self.wide),)
