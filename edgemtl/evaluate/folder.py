"""Evaluate a bundle on a folder: ``images/NAME.png`` and, per task, ``TASK/NAME.png`` or ``TASK/NAME.npy``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgemtl.errors import InputError
from edgemtl.evaluate.metrics import make_meter
from edgemtl.evaluate.predict import MAP_RANK, load_image
from edgemtl.images import list_images, read_array
from edgemtl.progress import counted

if TYPE_CHECKING:
    from edgemtl.runtime import Session


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
    with Image.open(picture) as image:
        if image.mode not in ("L", "P", "1", "I;16"):
            raise InputError(
                f"{picture}: a label must have one channel, not mode {image.mode}; save class ids or a mask"
            )
        return np.asarray(image)


def evaluate_folder(session: Session, tasks: Sequence[str], data: Path) -> tuple[TaskScore, ...]:
    """Metrics of ``tasks`` over every image of ``data``/images.

    Raises InputError for a missing folder, image or label, for a label of another size than the output, and for a task
    whose output is not a map.
    """
    images = list_images(data / "images")
    infos = {task: session.task_info(task) for task in tasks}
    for task, info in infos.items():
        _check_map(task, info.output_shape)
    meters = {task: make_meter(info.kind, info.channels) for task, info in infos.items()}
    for path in counted("images", images):
        outputs = session.run(list(tasks), load_image(session, path).array)
        for task, prediction in outputs.items():
            label = read_label(data / task, path.stem)
            if label.shape[-2:] != prediction.shape[-2:]:
                raise InputError(
                    f"{data / task}: label {path.stem} must be {prediction.shape[-2]}x{prediction.shape[-1]} like the "
                    f"output of {task}, not {label.shape[-2]}x{label.shape[-1]}; resize the labels"
                )
            meters[task].add(prediction[0], label)
    return tuple(TaskScore(t, infos[t].kind, len(images), meters[t].result()) for t in tasks)


def _check_map(task: str, shape: tuple[int, ...]) -> None:
    if len(shape) != MAP_RANK + 1 or shape[0] != 1:
        raise InputError(
            f"task {task} must have an output [1, channels, height, width] to be evaluated, not {list(shape)}; "
            "leave it out with --task"
        )
