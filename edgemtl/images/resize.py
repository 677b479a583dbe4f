"""Pictures to the size of a model's input, by the filter that its training used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgemtl.vocabulary import DEFAULT_FILTER, RESIZE_FILTERS

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Floats = NDArray[np.float32]


def resize(image: Image.Image, height: int, width: int, resize_filter: str) -> Pixels:
    """``image`` (mode L, RGB or F) as an array [height, width, bands], resized by one of `FILTERS` where it must be.

    uint8, or float32 from 0 to 255 where the picture or the filter has fractions.
    """
    if image.size == (width, height):
        return _bands(np.asarray(image))
    return _bands(FILTERS[resize_filter](image, height, width))


def resize_rgb(rgb: NDArray[np.uint8], height: int, width: int, resize_filter: str = DEFAULT_FILTER) -> Pixels:
    """`resize` of an array, uint8 [H, W, 3]."""
    return resize(Image.fromarray(rgb), height, width, resize_filter)


def _bands(array: Pixels) -> Pixels:
    return array if array.ndim == 3 else array[..., None]


def _pillow_bilinear(image: Image.Image, height: int, width: int) -> Pixels:
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _pillow_bicubic(image: Image.Image, height: int, width: int) -> Pixels:
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


class _Neighbours(NamedTuple):
    """The two source pixels of each target pixel [n], and the weight of the second."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: Floats


def _taps(source: int, target: int) -> _Neighbours:
    """Half-pixel centres in float32, as torch counts (ATen/native/UpSample.h, area_pixel_compute_source_index)."""
    at = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(source / target) - np.float32(0.5)
    at = np.maximum(at, np.float32(0))
    first = np.minimum(at.astype(np.int64), source - 1)
    return _Neighbours(first, np.minimum(first + 1, source - 1), np.clip(at - first.astype(np.float32), 0, 1))


def _torch_bilinear(image: Image.Image, height: int, width: int) -> Floats:
    """torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=False).

    Each target pixel mixes the four source pixels around it, however many lie between. Rows are taken one by one, so
    that a large picture is never an array as a whole.
    """
    rows, columns = _taps(image.height, height), _taps(image.width, width)
    lines = {int(y): _mix_columns(image, int(y), columns) for y in np.union1d(rows.first, rows.second)}
    result = [
        lines[int(y)] * (1 - weight) + lines[int(below)] * weight
        for y, below, weight in zip(rows.first, rows.second, rows.weight, strict=True)
    ]
    return np.asarray(np.stack(result), np.float32)


def _mix_columns(image: Image.Image, y: int, columns: _Neighbours) -> Floats:
    """Row ``y`` at the target's columns: float32 [width, bands]."""
    line = _bands(np.asarray(image.crop((0, y, image.width, y + 1))))[0].astype(np.float32)
    weight = columns.weight[:, None]
    return np.asarray(line[columns.first] * (1 - weight) + line[columns.second] * weight, np.float32)


FILTERS: Final[dict[str, Callable[[Image.Image, int, int], Pixels]]] = {
    "pillow-bilinear": _pillow_bilinear,
    "pillow-bicubic": _pillow_bicubic,
    "torch-bilinear": _torch_bilinear,
}
"""By the name that metadata and ``--resize-filter`` use. Pillow's average over all pixels that become one."""
assert tuple(FILTERS) == RESIZE_FILTERS
