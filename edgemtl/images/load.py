"""A file as an input of a model: decoded, resized and normalised as the model records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgemtl.errors import InputError
from edgemtl.images.arrays import read_array
from edgemtl.images.decode import read_picture
from edgemtl.images.resize import Floats, Pixels, resize

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
ARRAY_SUFFIX = ".npy"
NAMED = 3
"""So many pictures a note names."""


class InputDescription(Protocol):
    """What a model, or a bundle, says about its image input.

    shape: (1, C, H, W), of a camera (1, H, W, C). mean, std: per channel, the input is (pixel / 255 - mean) / std; None
    where nothing is said. is_camera: the bytes of a picture are taken, which are normalised later.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def mean(self) -> tuple[float, ...] | None: ...
    @property
    def std(self) -> tuple[float, ...] | None: ...
    @property
    def resize_filter(self) -> str: ...
    @property
    def is_camera(self) -> bool: ...


@dataclass(frozen=True)
class LoadedImage:
    """One model input, an array from a file or float32 [1, C, H, W] of a picture; and what was done to get there."""

    array: np.ndarray
    resized: bool = False
    notes: tuple[str, ...] = ()


def load_image(path: Path, description: InputDescription) -> LoadedImage:
    """Read ``path`` as an input: pictures are resized and normalised, .npy arrays taken as they are.

    Raises InputError for unreadable files, for pictures where no normalisation is recorded, and for pictures where the
    model takes neither 1 nor 3 channels.
    """
    if is_array_file(path):
        return LoadedImage(read_array(path))
    mean, std = description.mean, description.std
    if mean is None or std is None:
        raise InputError(
            f"{path}: the model must record how pictures are normalised, and it does not; "
            "give --mean and --std where it is compiled, or an .npy array that is already normalised"
        )
    _, channels, height, width = description.shape
    if description.is_camera:
        _, height, width, channels = description.shape
    if channels not in (1, 3):
        raise InputError(f"{path}: the model must take 1 or 3 channels for pictures, not {channels}; give .npy arrays")
    picture = read_picture(path, channels, (height, width))
    resized = picture.image.size != (width, height)
    how = f"resized to {width}x{height} by {description.resize_filter}"
    pixels = resize(picture.image, height, width, description.resize_filter)
    array = _as_bytes(pixels) if description.is_camera else normalise(pixels, mean, std)
    return LoadedImage(array, resized, (*picture.notes, *([how] if resized else [])))


def _as_bytes(pixels: Pixels) -> np.ndarray:
    """Values 0 to 255 [H, W, C] as a frame uint8 [1, H, W, C]; fractions of some filters are rounded."""
    return np.ascontiguousarray(np.rint(pixels).astype(np.uint8)[None])


def is_array_file(path: Path) -> bool:
    """Whether a file's name says that it holds an array."""
    return path.suffix.lower() == ARRAY_SUFFIX


def normalise(pixels: Pixels, mean: tuple[float, ...], std: tuple[float, ...]) -> Floats:
    """Values 0 to 255 [H, W, C or 1] to float32 [1, C, H, W]: (value / 255 - mean) / std per channel."""
    offset, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    planes = ((pixels.astype(np.float32) / np.float32(255) - offset) / scale).transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None], dtype=np.float32)


def summarise_notes(notes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Notes by picture as one line for each kind of note, with the first pictures it is about."""
    names: dict[str, list[str]] = {}
    for name, texts in notes.items():
        for text in texts:
            names.setdefault(text, []).append(name)
    return tuple(f"{_enumerate(pictures)}: {text}" for text, pictures in names.items())


def _enumerate(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
