"""Predictions as pictures: colours per kind of task, and contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgemtl.errors import InputError
from edgemtl.report.decode import salient

Array = NDArray[Any]
Picture = NDArray[np.uint8]

PALETTE: Final = np.array(
    [
        (120, 90, 60),
        (200, 200, 180),
        (240, 240, 255),
        (220, 60, 50),
        (60, 160, 70),
        (50, 90, 220),
        (230, 170, 40),
        (170, 60, 190),
        (60, 190, 190),
        (90, 90, 90),
        (250, 150, 170),
        (140, 200, 60),
    ],
    np.uint8,
)
"""Colours of the first classes; later ones are spread by the golden ratio (`class_colours`)."""

_DEPTH_STOPS: Final = np.array([(253, 231, 37), (94, 201, 98), (33, 145, 140), (59, 82, 139), (68, 1, 84)], np.float64)
"""Viridis at five places, near to far."""

_UNLABELLED: Final = np.array((0, 0, 0), np.uint8)


def class_colours(classes: int) -> Picture:
    """A colour [classes, 3] for each class id, the same for every model."""
    spare = np.arange(max(classes - len(PALETTE), 0))
    hue = (spare * 0.618034 % 1)[:, None] * 6
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.concatenate([PALETTE, (60 + 180 * wheel).astype(np.uint8)])[:classes]


def colourise(prediction: Array, kind: str) -> Picture:
    """Picture [H, W, 3] of a map [C, H, W] as the model outputs it; pixels that are not finite are black.

    Raises `InputError` for another rank, and for a kind that is no map.
    """
    if prediction.ndim != 3:
        raise InputError(f"a prediction must have three axes (channels, height, width), not {prediction.ndim}")
    if kind not in _PAINTERS:
        raise InputError(f"the kind of a task must be one of {', '.join(_PAINTERS)}, not {kind!r}")
    finite = np.isfinite(prediction)
    if finite.all():
        return _PAINTERS[kind](prediction)
    # Painted from the finite values: one NaN must not change the range of all others.
    known = prediction[finite]
    picture = _PAINTERS[kind](np.where(finite, prediction, known.min() if known.size else 0))
    picture[~finite.all(0)] = _UNLABELLED
    return picture


def colourise_classes(ids: Array) -> Picture:
    """Picture [H, W, 3] of class ids [H, W]; 255 is black."""
    table = class_colours(256)
    table[255] = _UNLABELLED
    picture: Picture = table[ids.astype(np.uint8)]
    return picture


def colourise_depth(depth: Array, nearest_m: float | None = None, farthest_m: float | None = None) -> Picture:
    """Picture [H, W, 3] of depths [H, W] in metres, yellow near, violet far; finds a range not given."""
    near = float(depth.min()) if nearest_m is None else nearest_m
    far = float(depth.max()) if farthest_m is None else farthest_m
    place = np.clip((depth - near) / max(far - near, 1e-6), 0, 1)
    stops = np.linspace(0, 1, len(_DEPTH_STOPS))
    channels = [np.interp(place, stops, _DEPTH_STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def colourise_normals(normals: Array) -> Picture:
    """Picture [H, W, 3] of normals [3, H, W] of any length (x right, y down, z forward).

    Red grows to the right, green upwards, blue towards the camera.
    """
    length = np.maximum(np.linalg.norm(normals, axis=0), 1e-12)
    unit = normals / length * np.array([1, -1, -1])[:, None, None]
    picture: Picture = ((unit + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
    return picture


def _grey(values: Array) -> Picture:
    level = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    return np.repeat(level[:, :, None], 3, axis=2)


def _edges(prediction: Array) -> Picture:
    """White where sure of an edge, black where sure of none."""
    return _grey(1 / (1 + np.exp(-np.clip(prediction[0], -30, 30))))


_PAINTERS: Final[dict[str, Callable[[Array], Picture]]] = {
    "segmentation": lambda prediction: colourise_classes(prediction.argmax(0)),
    "depth": lambda prediction: colourise_depth(prediction[0]),
    "normals": colourise_normals,
    "edges": _edges,
    "saliency": lambda prediction: _grey(salient(prediction)),
}
"""One for every kind that is a map (`vocabulary.MAP_CHANNELS`)."""


def contact_sheet(
    rows: Sequence[Sequence[Picture]], titles: Sequence[str] = (), scale: int = 1, gap_px: int = 4
) -> Picture:
    """Pictures [H, W, 3] of one size side by side, one sequence a row, under the columns' titles.

    ``scale`` repeats pixels.  Raises `InputError` if rows differ in length or pictures in size.
    """
    sizes = {picture.shape for row in rows for picture in row}
    if len({len(row) for row in rows}) != 1 or len(sizes) != 1:
        raise InputError(f"the rows of a contact sheet must be equally long and of one size, not {sorted(sizes)}")
    height, width, _ = sizes.pop()
    top = 16 if titles else 0
    step_y, step_x = height * scale + gap_px, width * scale + gap_px
    sheet = np.full((top + len(rows) * step_y - gap_px, len(rows[0]) * step_x - gap_px, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            large = picture.repeat(scale, 0).repeat(scale, 1)
            sheet[top + r * step_y :, c * step_x :][: height * scale, : width * scale] = large
    return _write_titles(sheet, titles, step_x)


def _write_titles(sheet: Picture, titles: Sequence[str], step_px: int) -> Picture:
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        draw.text((column * step_px + 2, 2), title, fill=(0, 0, 0))
    return np.asarray(image)
