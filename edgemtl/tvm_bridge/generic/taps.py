"""Resizing one axis as taps: which input pixels an output pixel reads, and with which weights.

Coordinates are computed in float32 in the order in which onnxruntime computes them, since rounding decides which pixel
is the nearest one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ResizedAxis:
    """An axis that is resized: pixels before and after, output size / input size, and the region of interest."""

    input_size: int
    output_size: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Sampling:
    """The attributes of Resize that decide what one axis reads."""

    mode: str
    coordinates: str
    nearest_mode: str
    cubic_coeff_a: float
    exclude_outside: bool
    antialias: bool


@dataclass(frozen=True)
class AxisTaps:
    """output[i] = sum over k of weight[i, k] input[index[i, k]]; the extrapolation value where outside[i]."""

    index: NDArray[np.int32]
    weight: NDArray[np.float32]
    outside: NDArray[np.bool_]


def taps(axis: ResizedAxis, sampling: Sampling) -> AxisTaps:
    """What every output pixel of the axis reads; taps without weight anywhere are left out."""
    x = original_coordinates(axis, sampling.coordinates)
    outside = np.zeros(len(x), np.bool_)
    if sampling.coordinates == "tf_crop_and_resize":
        outside = (x < 0) | (x > axis.input_size - 1)
    first, weight = _window(x, axis, sampling)
    index = first[:, None] + np.arange(weight.shape[1])
    if sampling.exclude_outside:
        weight = np.where((index < 0) | (index >= axis.input_size), 0, weight)
    if sampling.exclude_outside or sampling.antialias:
        total = weight.sum(axis=1, keepdims=True)
        weight = weight / np.where(total == 0, 1, total)
    index = np.clip(index, 0, axis.input_size - 1)
    used = weight.any(axis=0)
    return AxisTaps(index[:, used].astype(np.int32), weight[:, used].astype(np.float32), outside)


def original_coordinates(axis: ResizedAxis, mode: str) -> Floats:
    """The coordinate in the input of every output pixel [output_size]; mode is coordinate_transformation_mode."""
    return COORDINATES[mode](np.arange(axis.output_size, dtype=np.float32), axis).astype(np.float32)


def _half_pixel(x: Floats, axis: ResizedAxis) -> Floats:
    return (x + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _half_pixel_symmetric(x: Floats, axis: ResizedAxis) -> Floats:
    """The centre of the input lies in the centre of the output, also where the scale gives a fraction of a pixel."""
    exact = np.float32(axis.scale) * np.float32(axis.input_size)
    centre = np.float32(axis.input_size) / np.float32(2)
    offset = centre * (np.float32(1) - np.float32(axis.output_size) / exact)
    return np.asarray(offset + (x + 0.5).astype(np.float64) / axis.scale - 0.5, np.float32)


def _pytorch_half_pixel(x: Floats, axis: ResizedAxis) -> Floats:
    return _half_pixel(x, axis) if axis.output_size > 1 else np.zeros_like(x)


def _align_corners(x: Floats, axis: ResizedAxis) -> Floats:
    if axis.output_size == 1:
        return np.zeros_like(x)
    return x * np.float32(axis.input_size - 1) / np.float32(axis.output_size - 1)


def _asymmetric(x: Floats, axis: ResizedAxis) -> Floats:
    return x / np.float32(axis.scale)


def _crop(x: Floats, axis: ResizedAxis) -> Floats:
    """The region of interest, in parts of the input from corner to corner."""
    start, end, last = (np.float32(v) for v in (*axis.roi, axis.input_size - 1))
    if axis.output_size == 1:
        return np.full_like(x, 0.5 * (start + end) * last)
    return start * last + x * (end - start) * last / np.float32(axis.output_size - 1)


COORDINATES: dict[str, Callable[[Floats, ResizedAxis], Floats]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_crop_and_resize": _crop,
}
NEAREST: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.where(_is_tie(x), np.floor(x), np.round(x)),
    "round_prefer_ceil": lambda x: np.where(_is_tie(x), np.ceil(x), np.round(x)),
    "floor": np.floor,
    "ceil": np.ceil,
}
# What onnxruntime takes for half way between two pixels.
TIE = np.float32(1e-6)


def _is_tie(x: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.abs(x - np.floor(x) - np.float32(0.5)) <= TIE)


def _window(x: Floats, axis: ResizedAxis, sampling: Sampling) -> tuple[Integers, NDArray[Any]]:
    """The first pixel and the weights from there on, per output pixel."""
    if sampling.mode == "nearest":
        nearest = NEAREST[sampling.nearest_mode](x).astype(np.int64)
        return nearest, np.ones((len(x), 1))
    if sampling.antialias:
        return _antialiased(x, axis, sampling)
    radius = 1 if sampling.mode == "linear" else 2
    x = np.clip(x, 0, axis.input_size - 1) if radius == 1 else x
    first = np.floor(x).astype(np.int64) - (radius - 1)
    distance = np.abs(x[:, None].astype(np.float64) - (first[:, None] + np.arange(2 * radius)))
    weight = _kernel(distance, sampling)
    if radius == 1:
        # Both taps are the last pixel: no weight is zero, since zero times infinity is NaN.
        weight[first == axis.input_size - 1] = 0.5
    return first, weight


def _antialiased(x: Floats, axis: ResizedAxis, sampling: Sampling) -> tuple[Integers, NDArray[Any]]:
    """The kernel as wide as an output pixel where the axis shrinks; the window is cut as onnxruntime cuts it."""
    stretch = np.float32(max(1 / axis.scale, 1))
    support = np.float32(1 if sampling.mode == "linear" else 2) * stretch
    centre = x + np.float32(0.5)
    first = np.floor(centre - support + np.float32(0.5)).astype(np.int64)
    last = np.floor(centre + support + np.float32(0.5)).astype(np.int64)
    pixels = first[:, None] + np.arange(2 * math.ceil(support) + 1)
    distance = np.abs(pixels + 0.5 - centre[:, None].astype(np.float64)) / stretch
    return first, np.where(pixels < last[:, None], _kernel(distance, sampling), 0)


def _kernel(x: NDArray[Any], sampling: Sampling) -> NDArray[Any]:
    """The triangle, or the cubic convolution of R. Keys ("Cubic convolution interpolation", 1981), at distances x."""
    if sampling.mode == "linear":
        return np.asarray(np.maximum(1 - x, 0))
    a = sampling.cubic_coeff_a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
