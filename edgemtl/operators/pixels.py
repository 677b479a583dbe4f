"""The bytes of a camera's frame as values: a table of 256 for each channel."""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.hw import law_weightless
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32, int8


@dataclass(frozen=True)
class Pixels(Operator):
    """uint8 [pixels, channels] to float32, by ``table`` [channels, 256] of what each byte stands for."""

    pixels: int
    channels: int

    @property
    def signature(self) -> Signature:
        x = TensorType((self.pixels, self.channels), "uint8")
        return Signature({"x": x}, {"y": float32(self.pixels, self.channels)}, {"table": float32(self.channels, 256)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.look_up_pixels(values["x"], values["table"]),)


@dataclass(frozen=True)
class QPixels(Operator):
    """`law_weightless.look_up_pixels`: uint8 [pixels, channels] to int8, by ``table`` [channels, 256]."""

    pixels: int
    channels: int

    @property
    def signature(self) -> Signature:
        x = TensorType((self.pixels, self.channels), "uint8")
        return Signature({"x": x}, {"y": int8(self.pixels, self.channels)}, {"table": int8(self.channels, 256)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law_weightless.look_up_pixels(values["x"], values["table"]),)
