"""Bilinear resizing of images, and the way of a quantised one back to float32 planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from edgemtl.hw import law, law_weightless
from edgemtl.operators.elementwise import Integer
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32, int8, uint8


@cache
def _weights(size: int, out: int) -> Array:
    """Bilinear weights [out, size] of one axis: half-pixel centres, edges clamped."""
    centre = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    near = np.abs(centre[:, None] - np.arange(size)[None])
    return np.asarray(np.maximum(0, 1 - near), np.float32)


def linear_taps(size: int, out: int) -> dict[str, Array]:
    """The same weights as two taps for each output: "index" int32 [out, 2] and "weight" float32 [out, 2]."""
    weights = _weights(size, out)
    first = np.minimum((weights > 0).argmax(1), max(size - 2, 0))
    index = np.minimum(first[:, None] + np.arange(2), size - 1).astype(np.int32)
    weight = np.take_along_axis(weights, index, 1)
    weight[index[:, 0] == index[:, 1], 1] = 0
    return {"index": index, "weight": weight}


@dataclass(frozen=True)
class Resize(Operator):
    """Bilinear resize of [height * width, channels], edges clamped (ONNX Resize, linear, half_pixel).

    The result is NCHW, [1, channels, out_height, out_width], where ``planar``, else channels-last rows.
    """

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    planar: bool = True

    @property
    def signature(self) -> Signature:
        planes = (1, self.channels, self.out_height, self.out_width)
        rows = (self.out_height * self.out_width, self.channels)
        y = float32(*(planes if self.planar else rows))
        return Signature({"x": float32(self.height * self.width, self.channels)}, {"y": y})

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = values["x"].reshape(self.height, -1)
        lines = values.multiply(_weights(self.height, self.out_height), image).reshape(-1, self.width, self.channels)
        y = values.multiply(_weights(self.width, self.out_width), lines)
        return (np.ascontiguousarray(y.transpose(2, 0, 1))[None] if self.planar else y.reshape(-1, self.channels),)


@dataclass(frozen=True)
class QBilinear(Operator):
    """`law.bilinear`: int8 [height * width, channels] to int8 [4 height * width, channels]."""

    height: int
    width: int
    channels: int

    @property
    def label(self) -> str:
        return "resize"

    @property
    def out_width(self) -> int:
        """Pixels of a row of the result."""
        return 2 * self.width

    @property
    def signature(self) -> Signature:
        pixels = self.height * self.width
        return Signature({"x": int8(pixels, self.channels)}, {"y": int8(4 * pixels, self.channels)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        y = law.bilinear(values["x"].reshape(self.height, self.width, self.channels))
        return (y.reshape(-1, self.channels),)


@dataclass(frozen=True)
class DequantiseImage(Operator):
    """`law.dequantise` of [height * width, channels] to float32 planes [1, channels, H, W].

    With ``enlarge`` the integers are `law.enlarge`'s, 16 times the value at twice the size, and ``scale`` is theirs.
    """

    height: int
    width: int
    channels: int
    enlarge: bool
    dtype: str
    scale: float
    zero: int

    @property
    def signature(self) -> Signature:
        times = 2 if self.enlarge else 1
        x = TensorType((self.height * self.width, self.channels), self.dtype)
        return Signature({"x": x}, {"y": float32(1, self.channels, times * self.height, times * self.width)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = values["x"].reshape(self.height, self.width, self.channels)
        wide = law.enlarge(image) if self.enlarge else image
        return (law.dequantise(wide, self.scale, self.zero).transpose(2, 0, 1)[None],)


@dataclass(frozen=True)
class QClasses(Operator):
    """`law_weightless.classes` of logits [height * width, channels] to channels uint8 [H, W].

    With ``enlarge`` of the logits upsampled by 2, bilinear, in full precision: H, W are twice the height and width.
    """

    height: int
    width: int
    channels: int
    enlarge: bool
    dtype: Integer

    @property
    def label(self) -> str:
        return "classes"

    @property
    def factor(self) -> int:
        """Rows of the result for each row of logits."""
        return 2 if self.enlarge else 1

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return self.factor * self.height

    @property
    def out_width(self) -> int:
        """Pixels of a row of the result."""
        return self.factor * self.width

    @property
    def signature(self) -> Signature:
        x = TensorType((self.height * self.width, self.channels), self.dtype)
        return Signature({"x": x}, {"y": uint8(self.out_height, self.out_width)})

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = values["x"].reshape(self.height, self.width, self.channels)
        return (law_weightless.classes(image, self.enlarge),)


@dataclass(frozen=True)
class _Resample(Operator):
    """[height * width, channels] to [out_height * out_width, channels], each axis by taps.

    A tap is an index into the axis and a weight; constants hold ``row_taps`` for each output row, and ``column_taps``
    for each output column.
    """

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    row_taps: int
    column_taps: int

    @property
    def label(self) -> str:
        return "resize"

    def _signature(self, dtype: str) -> Signature:
        x, y = (self.height * self.width, self.channels), (self.out_height * self.out_width, self.channels)
        rows, columns = (self.out_height, self.row_taps), (self.out_width, self.column_taps)
        weight = "float32" if dtype == "float32" else "int32"
        constants = {
            "row_index": TensorType(rows, "int32"),
            "row_weight": TensorType(rows, weight),
            "column_index": TensorType(columns, "int32"),
            "column_weight": TensorType(columns, weight),
        }
        return Signature({"x": TensorType(x, dtype)}, {"y": TensorType(y, dtype)}, constants)


@dataclass(frozen=True)
class Resample(_Resample):
    """Resizing in any mode of ONNX's Resize that reads no pixel outside the image."""

    @property
    def signature(self) -> Signature:
        return self._signature("float32")

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = values["x"].reshape(self.height, self.width, self.channels)
        lines = (image[values["row_index"]] * values["row_weight"][:, :, None, None]).sum(1, dtype=np.float32)
        pixels = lines[:, values["column_index"]] * values["column_weight"][:, :, None]
        return (pixels.sum(2, dtype=np.float32).reshape(-1, self.channels),)


@dataclass(frozen=True)
class QResample(_Resample):
    """`law_weightless.resample` of int8 or int16."""

    dtype: Integer = "int8"

    @property
    def signature(self) -> Signature:
        return self._signature(self.dtype)

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = values["x"].reshape(self.height, self.width, self.channels)
        taps = (values[f"{axis}_{what}"] for axis in ("row", "column") for what in ("index", "weight"))
        return (law_weightless.resample(image, *taps).reshape(-1, self.channels),)
