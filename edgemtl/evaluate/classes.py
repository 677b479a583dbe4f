"""What a classification says: its best classes, and how often the right one is among them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import InputError

TOP_K = 5
LABELS = "labels.csv"
COLUMNS = ("image", "class")


@dataclass(frozen=True)
class ClassScore:
    """A class by index, its score as the model outputs it, and its name where the model records one."""

    index: int
    score: float
    name: str | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; a score that is not finite is null, and there is no name where none is known."""
        score = self.score if math.isfinite(self.score) else None
        return {"class": self.index, "score": score} | ({"name": self.name} if self.name is not None else {})


def order_classes(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Class indices from the highest score down; equal ones by index, NaN last."""
    return np.argsort(-scores.reshape(-1).astype(np.float64), kind="stable")


def rank_classes(scores: NDArray[Any], names: Sequence[str] = (), most: int = TOP_K) -> tuple[ClassScore, ...]:
    """The best classes of a score for each, any shape; ``names`` has one for each class, or none."""
    flat = scores.reshape(-1)
    best = (int(index) for index in order_classes(scores)[:most])
    return tuple(ClassScore(index, float(flat[index]), names[index] if names else None) for index in best)


class ClassificationMeter:
    """Share of images whose label is the best class, and among the best five. Prediction: scores; label: an index."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.images = self.first = self.among = 0

    def add(self, prediction: NDArray[Any], label: NDArray[Any]) -> None:
        """Count one image; raises `InputError` for a class the model does not have."""
        if prediction.size != self.classes or not np.isfinite(prediction).all():
            actual = list(prediction.shape) if prediction.size != self.classes else "infinities or NaN"
            raise InputError(f"a classification prediction must be {self.classes} finite scores, not {actual}")
        truth = int(label)
        if not 0 <= truth < self.classes:
            raise InputError(
                f"a class must be from 0 to {self.classes - 1}, not {truth}; check that the labels belong to this model"
            )
        order = order_classes(prediction)
        self.images += 1
        self.first += int(order[0] == truth)
        self.among += int(truth in order[:TOP_K])

    def result(self) -> dict[str, float]:
        """`top1` and `top5`: shares of the images."""
        if not self.images:
            return {"top1": math.nan, "top5": math.nan}
        return {"top1": self.first / self.images, "top5": self.among / self.images}


def read_class_labels(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """Class indices by image from ``folder``/labels.csv: columns image (name, with or without suffix) and class.

    A class is an index, or one of ``names``. Raises InputError for a file that is missing, damaged or contradictory.
    """
    path = folder / LABELS
    labels: dict[str, int] = {}
    for number, (image, value) in enumerate(_read_rows(path), 2):
        if image in labels:
            raise InputError(f"{path}: each image must be there once, and {image} is again in line {number}")
        labels[image] = _class_index(path, number, value, names)
    return labels


def find_label(labels: dict[str, int], image: Path, folder: Path) -> NDArray[np.int64]:
    """The label of an image by its file's name, or by that without its suffix. Raises InputError."""
    values = {labels[name] for name in (image.name, image.stem) if name in labels}
    if len(values) != 1:
        actual = "two" if values else "none"
        raise InputError(f"{folder / LABELS}: must hold one class for image {image.name}; it holds {actual}")
    return np.array(values.pop(), np.int64)


def _read_rows(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise InputError(
            f"{path}: must be there, with the columns {','.join(COLUMNS)}: the labels of a classification; it is not"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: must be a readable CSV file in UTF-8; {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise InputError(f"{path}: must have the columns {','.join(COLUMNS)}, named in the first line, and no others")
    return [(row[0], row[1]) for row in rows[1:]]


def _class_index(path: Path, line: int, value: str, names: Sequence[str]) -> int:
    if value in names:
        return list(names).index(value)
    if value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    known = "an index or a name that the model records" if names else "an index, since the model records no names"
    raise InputError(f"{path}: a class must be {known}, not {value!r} in line {line}")
