"""The image to tokens: patches, their embedding, positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemtl.hw import law
from edgemtl.hw.arith import unpack_scale
from edgemtl.operators.operator import Array, Operator, Signature, Values, activation, float32, int8, int16, int32


@dataclass(frozen=True)
class PatchEmbed(Operator):
    """Image NCHW to tokens [leading + patches, dim] plus a table of the same shape (positions and biases).

    The ``leading`` rows (a class token) are the table's alone.
    """

    channels: int
    height: int
    width: int
    patch: int
    dim: int
    leading: int

    @property
    def patches(self) -> int:
        """Patches of the image."""
        return (self.height // self.patch) * (self.width // self.patch)

    @property
    def signature(self) -> Signature:
        tokens = float32(self.leading + self.patches, self.dim)
        constants = {"weight": float32(self.dim, self.channels, self.patch, self.patch), "table": tokens}
        return Signature({"image": float32(1, self.channels, self.height, self.width)}, {"y": tokens}, constants)

    @property
    def macs(self) -> int:
        return self.patches * self.channels * self.patch**2 * self.dim

    def compute(self, values: Values) -> tuple[Array, ...]:
        p, rows, columns = self.patch, self.height // self.patch, self.width // self.patch
        image = values["image"].reshape(self.channels, self.height, self.width)[:, : rows * p, : columns * p]
        cut = image.reshape(self.channels, rows, p, columns, p).transpose(1, 3, 0, 2, 4)
        y = values.multiply(cut.reshape(rows * columns, -1), values["weight"].reshape(self.dim, -1).T)
        return (np.concatenate([np.zeros((self.leading, self.dim), np.float32), y]) + values["table"],)


@dataclass(frozen=True)
class QuantiseImage(Operator):
    """`law.quantise_image` and `law.cut_patches`: float32 [1, C, H, W] to patches int8 [P, C * patch * patch].

    Where it is ``wide`` they are int16 of 12 bits.
    """

    delivers = False

    channels: int
    height: int
    width: int
    patch: int
    inverse_scale: float
    zero: int
    wide: bool = False

    @property
    def signature(self) -> Signature:
        patches = (self.height // self.patch) * (self.width // self.patch)
        image = float32(1, self.channels, self.height, self.width)
        return Signature({"x": image}, {"y": activation(self.wide, patches, self.channels * self.patch**2)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = law.quantise_image(values["x"][0], self.inverse_scale, self.zero, self.wide)
        return (law.cut_patches(image, self.patch),)


@dataclass(frozen=True)
class QPatchEmbed(Operator):
    """`law.patch_embed`: patches int8, or ``wide``, [patches, k] to tokens int16 [leading + patches, n]."""

    patches: int
    k: int
    n: int
    leading: int
    wide: bool = False

    @property
    def signature(self) -> Signature:
        tokens = int16(self.leading + self.patches, self.n)
        constants = {"weight": int8(self.k, self.n), "bias": int32(self.n), "scale": int32(self.n), "table": tokens}
        return Signature({"x": activation(self.wide, self.patches, self.k)}, {"y": tokens}, constants)

    @property
    def macs(self) -> int:
        return self.patches * self.k * self.n

    def compute(self, values: Values) -> tuple[Array, ...]:
        scale = unpack_scale(values["scale"])
        x, weight, bias, table = (values[name] for name in ("x", "weight", "bias", "table"))
        return (law.patch_embed(x, weight, bias, *scale, table, self.leading),)
