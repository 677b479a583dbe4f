"""The bytes of a camera's frame as values: a table of 256 for each channel."""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.hw import law, law_weightless
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


@dataclass(frozen=True)
class QPixelPatches(Operator):
    """`law_weightless.look_up_pixels` and `law.cut_patches`: a frame uint8 [1, H, W, C] to patches int8.

    Patches are [P, C * patch * patch], as those of `QuantiseImage`; ``table`` [C, 256] says what each byte becomes.
    """

    channels: int
    height: int
    width: int
    patch: int

    @property
    def signature(self) -> Signature:
        patches = (self.height // self.patch) * (self.width // self.patch)
        x = TensorType((1, self.height, self.width, self.channels), "uint8")
        y = int8(patches, self.channels * self.patch**2)
        return Signature({"x": x}, {"y": y}, {"table": int8(self.channels, 256)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        rows = law_weightless.look_up_pixels(values["x"].reshape(-1, self.channels), values["table"])
        image = rows.reshape(self.height, self.width, self.channels).transpose(2, 0, 1)
        return (law.cut_patches(image, self.patch),)
