"""Run a session on image files and write what it says: arrays for programs, pictures for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgemtl.errors import InputError, UsageError
from edgemtl.images import list_images, normalise, read_array, read_rgb, resize_rgb
from edgemtl.paths import check_absent, check_apart, output_folder, write_aside
from edgemtl.progress import counted
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


def predict_files(
    session: Session, tasks: Sequence[str], inputs: Sequence[Path], output: Path, force: bool = True
) -> Iterator[Written]:
    """Run ``tasks`` on every image of ``inputs``; write NAME_TASK.npy, and of maps NAME_TASK.png, into ``output``.

    The files of a result are there whole, or none of them is. Raises UsageError where a result would overwrite an
    input or another result, or without ``force`` any file, OutputError where it cannot be written.
    """
    images = expand(inputs)
    check_results(images, tasks, output, force)
    with output_folder(output):
        for path in counted("images", images):
            loaded = load_image(session, path)
            for task, prediction in session.run(list(tasks), loaded.array).items():
                yield _write(session, path, task, prediction, output, loaded.resized)


def check_results(images: Sequence[Path], tasks: Sequence[str], output: Path, force: bool = True) -> None:
    """Raise UsageError where two results have one name, a result that of an input, or without ``force`` of any file."""
    sources: dict[Path, Path] = {}
    for path in images:
        for file in (file for task in tasks for file in _results(path, task, output)):
            if file in sources:
                raise UsageError(f"--input {path} must have another name: its result {file} is that of {sources[file]}")
            sources[file] = path
    check_apart("-o", sources, images)
    check_absent("-o", sources, force)


def _results(image: Path, task: str, output: Path) -> tuple[Path, Path]:
    return output / f"{image.stem}_{task}.npy", output / f"{image.stem}_{task}.png"


def _write(session: Session, path: Path, task: str, prediction: np.ndarray, output: Path, resized: bool) -> Written:
    array, picture = _results(path, task, output)
    is_map = prediction[0].ndim == MAP_RANK
    with write_aside(array) as first, write_aside(picture) if is_map else nullcontext() as second:
        with first.open("wb") as file:
            np.save(file, prediction)
        if second is not None:
            Image.fromarray(colourise(prediction[0], session.task_info(task).kind)).save(second, "PNG")
    return Written(str(path), task, str(array), str(picture) if is_map else None, resized)
