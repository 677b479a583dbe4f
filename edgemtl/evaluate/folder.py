"""Evaluate a bundle on a folder: ``images/NAME.png`` and, per task, labels in ``TASK/``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgemtl.errors import InputError
from edgemtl.evaluate.classes import find_label, read_class_labels
from edgemtl.evaluate.metrics import METERS, Meter, make_meter
from edgemtl.evaluate.predict import run_frame
from edgemtl.images import expand_frames, list_frames, load_frame, read_array, read_label_picture, summarise_notes
from edgemtl.progress import counted
from edgemtl.vocabulary import count_classes, describe_shape, fits_kind

if TYPE_CHECKING:
    from edgemtl.runtime import Session, TaskInfo

ReadLabel = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class TaskScore:
    """One task's metrics over ``images`` labelled images."""

    task: str
    kind: str
    images: int
    metrics: dict[str, float]


def read_label(folder: Path, stem: str) -> np.ndarray:
    """The label of image ``stem``: class ids or a 0/255 mask from a one-channel PNG, anything else from .npy."""
    array, picture = folder / f"{stem}.npy", folder / f"{stem}.png"
    if array.is_file():
        return read_array(array)
    if not picture.is_file():
        raise InputError(f"{folder}: must hold a label {stem}.png or {stem}.npy for image {stem}; it holds neither")
    return read_label_picture(picture)


def evaluate_folder(
    session: Session, tasks: Sequence[str], data: Path
) -> tuple[tuple[TaskScore, ...], tuple[str, ...]]:
    """Metrics of ``tasks`` over every image of ``data``/images, and notes on how pictures became inputs.

    Labels of maps are TASK/NAME.png or TASK/NAME.npy, those of classifications are lines of TASK/labels.csv. Raises
    InputError for a missing folder, image or label, for a label of another size than the output, and for a task
    without metrics.
    """
    images = _list_images(data / "images", len(session.inputs))
    infos = {task: session.task_info(task) for task in tasks}
    meters = {task: _make_meter(info) for task, info in infos.items()}
    readers = {task: _label_reader(info, data / task) for task, info in infos.items()}
    notes: dict[str, tuple[str, ...]] = {}
    for path in counted("images", images):
        (files,) = expand_frames(session.inputs, [path])
        loaded = load_frame(files, session.inputs)
        notes[path.name] = loaded.notes
        for task, prediction in run_frame(session, tasks, path, loaded.arrays).items():
            label = readers[task](path)
            if infos[task].kind != "classification":
                _check_size(data / task, path.stem, label, prediction)
            meters[task].add(prediction[0], label)
    scores = tuple(TaskScore(t, infos[t].kind, len(images), meters[t].result()) for t in tasks)
    return scores, summarise_notes(notes)


def _list_images(folder: Path, inputs: int) -> tuple[Path, ...]:
    """The images, each with a name of its own, since labels are found by it."""
    images = list_frames(folder, inputs)
    stem, count = Counter(path.stem for path in images).most_common(1)[0]
    if count > 1:
        names = ", ".join(path.name for path in images if path.stem == stem)
        raise InputError(f"{folder}: images must have different names, since labels go by them, not {names}; rename")
    return images


def _make_meter(info: TaskInfo) -> Meter:
    shape = info.output_shape
    if info.kind not in METERS:
        raise InputError(
            f"task {info.name} must be of a kind with metrics ({', '.join(METERS)}), not {info.kind}; "
            f"compile with --kind {info.name}=KIND, or leave it out with --task"
        )
    if not fits_kind(info.kind, shape):
        raise InputError(
            f"task {info.name} must have an output that is {describe_shape(info.kind)} to be evaluated as {info.kind}, "
            f"not {list(shape)}; leave it out with --task"
        )
    return make_meter(info.kind, count_classes(shape) if info.kind == "classification" else info.channels)


def _label_reader(info: TaskInfo, folder: Path) -> ReadLabel:
    if info.kind != "classification":
        return lambda path: read_label(folder, path.stem)
    labels = read_class_labels(folder, info.classes)
    return lambda path: find_label(labels, path, folder)


def _check_size(folder: Path, stem: str, label: np.ndarray, prediction: np.ndarray) -> None:
    if label.shape[-2:] != prediction.shape[-2:]:
        raise InputError(
            f"{folder}: label {stem} must be {prediction.shape[-2]}x{prediction.shape[-1]} like the "
            f"output, not {'x'.join(map(str, label.shape[-2:])) or 'a number'}; resize the labels"
        )
