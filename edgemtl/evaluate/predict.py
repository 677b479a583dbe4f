"""Run a session on image files and write what it says: arrays for programs, pictures for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgemtl.errors import InputError
from edgemtl.images import list_images, normalise, read_array, read_rgb, resize_rgb
from edgemtl.report.pictures import colourise

if TYPE_CHECKING:
    from edgemtl.runtime import Session


MAP_RANK = 3
"""Axes of a map: channels, height, width."""


@dataclass(frozen=True)
class LoadedImage:
    """One model input: ``array`` float32 [1,C,H,W], and whether the picture was resized to get there."""

    array: np.ndarray
    resized: bool


@dataclass(frozen=True)
class Written:
    """The files one task left for one image; no picture of an output that is not a map [C, H, W]."""

    image: str
    task: str
    array: str
    picture: str | None
    resized: bool


def load_image(session: Session, path: Path) -> LoadedImage:
    """Read ``path`` as an input of ``session``: pictures are resized and normalised, .npy arrays taken as they are.

    Raises InputError for unreadable files, and for pictures where the model records no normalisation.
    """
    if path.suffix.lower() == ".npy":
        return LoadedImage(read_array(path), resized=False)
    spec = session.input
    if spec.mean is None or spec.std is None:
        raise InputError(
            f"{path}: the model must record how pictures are normalised, and it does not; "
            "compile it with --mean and --std, or give an .npy array that is already normalised"
        )
    rgb = read_rgb(path)
    height, width = spec.shape[2:]
    resized = resize_rgb(rgb, height, width)
    return LoadedImage(normalise(resized, spec.mean, spec.std), resized=rgb.shape[:2] != (height, width))


def expand(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Files as they are, folders as the images in them."""
    return tuple(found for path in paths for found in (list_images(path) if path.is_dir() else (path,)))


def predict_files(session: Session, tasks: Sequence[str], inputs: Sequence[Path], output: Path) -> Iterator[Written]:
    """Run ``tasks`` on every image of ``inputs``; write NAME_TASK.npy, and of maps NAME_TASK.png, into ``output``."""
    images = expand(inputs)
    output.mkdir(parents=True, exist_ok=True)
    for path in images:
        loaded = load_image(session, path)
        for task, prediction in session.run(list(tasks), loaded.array).items():
            yield _write(session, path, task, prediction, output, loaded.resized)


def _write(session: Session, path: Path, task: str, prediction: np.ndarray, output: Path, resized: bool) -> Written:
    array, picture = output / f"{path.stem}_{task}.npy", output / f"{path.stem}_{task}.png"
    np.save(array, prediction)
    if prediction[0].ndim != MAP_RANK:
        return Written(str(path), task, str(array), None, resized)
    Image.fromarray(colourise(prediction[0], session.task_info(task).kind)).save(picture)
    return Written(str(path), task, str(array), str(picture), resized)
