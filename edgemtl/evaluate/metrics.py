"""Metrics per kind of task, summed over a whole dataset one picture at a time.

A meter takes a prediction [C, H, W] as the model outputs it and a label; `result` gives the metrics so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import InputError
from edgemtl.evaluate.classes import ClassificationMeter
from edgemtl.report.decode import salient

Array = NDArray[Any]
Mask = NDArray[np.bool_]

IGNORE_CLASS: Final = 255
"""The class id of pixels that have no label."""


class Meter(Protocol):
    """Sums over pictures; `result` maps a metric's name to its value, NaN while nothing was added."""

    def add(self, prediction: Array, label: Array) -> None:
        """Count one picture: prediction [C, H, W], label [H, W] ([3, H, W] for normals)."""
        ...

    def result(self) -> dict[str, float]:
        """The metrics over all pictures so far."""
        ...


class SegmentationMeter:
    """Confusion of `classes` classes. Prediction: logits [C, H, W]; label: class ids [H, W], 255 ignored."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.confusion = np.zeros((classes, classes), np.int64)

    def add(self, prediction: Array, label: Array) -> None:
        """Count one picture; raises `InputError` for a class id the model does not have."""
        _check("segmentation", prediction, label, (self.classes, *label.shape[-2:]), label.shape[-2:])
        valid = label != IGNORE_CLASS
        truth = label[valid].astype(np.int64)
        if truth.size and not 0 <= truth.min() <= truth.max() < self.classes:
            raise InputError(
                f"a class id must be from 0 to {self.classes - 1} or {IGNORE_CLASS}, "
                f"not {_outlier(truth, self.classes)}; check that the labels belong to this model"
            )
        guess = prediction.argmax(0)[valid]
        counts = np.bincount(truth * self.classes + guess, minlength=self.classes**2)
        self.confusion += counts.reshape(self.classes, self.classes)

    def class_iou(self) -> NDArray[np.float64]:
        """Intersection over union [classes]; NaN for a class neither labelled nor predicted."""
        hit = self.confusion.diagonal().astype(np.float64)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hit
        iou = np.full(self.classes, np.nan)
        np.divide(hit, union, out=iou, where=union > 0)
        return iou

    def result(self) -> dict[str, float]:
        """`miou` (mean over the classes that occur) and `pixel_accuracy`."""
        iou = self.class_iou()
        known = ~np.isnan(iou)
        miou = float(iou[known].mean()) if known.any() else float("nan")
        return {"miou": miou, "pixel_accuracy": _ratio(self.confusion.trace(), self.confusion.sum())}


class DepthMeter:
    """Prediction [1, H, W] and label [H, W] in metres; labels not finite and positive are ignored."""

    def __init__(self) -> None:
        self.pixels = self.near = 0
        self.squared = self.relative = 0.0

    def add(self, prediction: Array, label: Array) -> None:
        """Count one picture."""
        _check("depth", prediction, label, (1, *label.shape[-2:]), label.shape[-2:])
        valid = np.isfinite(label) & (label > 0)
        truth, guess = label[valid].astype(np.float64), prediction[0][valid].astype(np.float64)
        error = guess - truth
        self.pixels += truth.size
        self.squared += float((error**2).sum())
        self.relative += float((np.abs(error) / truth).sum())
        self.near += int(((guess < 1.25 * truth) & (truth < 1.25 * guess)).sum())

    def result(self) -> dict[str, float]:
        """`rmse` in metres, `abs_rel`, and `delta1`: the share within a factor of 1.25 of the label."""
        return {
            "rmse": _ratio(self.squared, self.pixels) ** 0.5,
            "abs_rel": _ratio(self.relative, self.pixels),
            "delta1": _ratio(self.near, self.pixels),
        }


class NormalsMeter:
    """Prediction [3, H, W] of any length; label [3, H, W], ignored where shorter than 0.5."""

    def __init__(self) -> None:
        self.pixels = self.close = 0
        self.angle = 0.0

    def add(self, prediction: Array, label: Array) -> None:
        """Count one picture."""
        _check("normals", prediction, label, (3, *label.shape[-2:]), (3, *label.shape[-2:]))
        truth, guess = label.astype(np.float64), prediction.astype(np.float64)
        length = np.linalg.norm(truth, axis=0)
        valid = length > 0.5
        scale = np.maximum(length * np.linalg.norm(guess, axis=0), 1e-12)
        cosine = np.clip((truth * guess).sum(0) / scale, -1.0, 1.0)
        angle = np.degrees(np.arccos(cosine))[valid]
        self.pixels += angle.size
        self.angle += float(angle.sum())
        self.close += int((angle < 11.25).sum())

    def result(self) -> dict[str, float]:
        """`mean_angle` in degrees and `within_11`: the share of pixels off by less than 11.25 degrees."""
        return {"mean_angle": _ratio(self.angle, self.pixels), "within_11": _ratio(self.close, self.pixels)}


class EdgesMeter:
    """Prediction: logit [1, H, W], positive is an edge; label [H, W], non-zero is an edge.

    A pixel matches if the other map has an edge within one pixel (eight neighbours).
    """

    def __init__(self) -> None:
        self.predicted = self.right = self.labelled = self.recalled = 0

    def add(self, prediction: Array, label: Array) -> None:
        """Count one picture."""
        _check("edges", prediction, label, (1, *label.shape[-2:]), label.shape[-2:])
        guess, truth = prediction[0] > 0, label != 0
        self.predicted += int(guess.sum())
        self.right += int((guess & widen(truth)).sum())
        self.labelled += int(truth.sum())
        self.recalled += int((truth & widen(guess)).sum())

    def result(self) -> dict[str, float]:
        """`f_score` with its `precision` and `recall`."""
        return _f_score(self.right, self.predicted, self.recalled, self.labelled)


class SaliencyMeter:
    """Prediction: logit [1, H, W], or background and salient [2, H, W]; label [H, W], non-zero is salient."""

    def __init__(self) -> None:
        self.both = self.predicted = self.labelled = 0

    def add(self, prediction: Array, label: Array) -> None:
        """Count one picture."""
        channels = 2 if len(prediction) == 2 else 1
        _check("saliency", prediction, label, (channels, *label.shape[-2:]), label.shape[-2:])
        guess, truth = salient(prediction), label != 0
        self.both += int((guess & truth).sum())
        self.predicted += int(guess.sum())
        self.labelled += int(truth.sum())

    def result(self) -> dict[str, float]:
        """`iou` of the salient region and `f_score` with its `precision` and `recall`."""
        iou = _ratio(self.both, self.predicted + self.labelled - self.both)
        return {"iou": iou, **_f_score(self.both, self.predicted, self.both, self.labelled)}


METERS: Final[dict[str, Callable[[int], Meter]]] = {
    "segmentation": SegmentationMeter,
    "depth": lambda channels: DepthMeter(),
    "normals": lambda channels: NormalsMeter(),
    "edges": lambda channels: EdgesMeter(),
    "saliency": lambda channels: SaliencyMeter(),
    "classification": ClassificationMeter,
}


def make_meter(kind: str, channels: int) -> Meter:
    """An empty meter for a task of this kind whose output has `channels` channels, or classes; raises `InputError`."""
    if kind not in METERS:
        raise InputError(f"the kind of a task with labels must be one of {', '.join(METERS)}, not {kind!r}")
    return METERS[kind](channels)


def widen(mask: Mask) -> Mask:
    """The pixels [H, W] that are set or have one of their eight neighbours set."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _f_score(right: int, predicted: int, recalled: int, labelled: int) -> dict[str, float]:
    if predicted + labelled == 0:
        return {"f_score": float("nan"), "precision": float("nan"), "recall": float("nan")}
    precision, recall = right / max(predicted, 1), recalled / max(labelled, 1)
    both = precision + recall
    f_score = 2 * precision * recall / both if both else 0.0
    return {"f_score": f_score, "precision": precision, "recall": recall}


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _outlier(truth: NDArray[np.int64], classes: int) -> int:
    return int(truth[(truth < 0) | (truth >= classes)][0])


def _check(kind: str, prediction: Array, label: Array, output: tuple[int, ...], truth: tuple[int, ...]) -> None:
    if prediction.shape != output:
        raise InputError(f"a {kind} prediction must have shape {output}, not {prediction.shape}")
    if label.shape != truth:
        raise InputError(f"a {kind} label must have shape {truth}, not {label.shape}")
    if not np.isfinite(prediction).all():
        raise InputError(f"a {kind} prediction must be finite, not NaN or infinite; check the model's input")
