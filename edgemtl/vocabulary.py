"""Words that models, bundles and options share: kinds of tasks, pathways, filters that resize pictures; a leaf."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final, Literal, get_args

Kind = Literal["segmentation", "depth", "normals", "edges", "saliency", "classification", "other"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
"""What a task's output can mean. All but the last two are maps [1, channels, height, width]."""

MAP_CHANNELS: Final[dict[str, range]] = {
    "segmentation": range(2, 1 << 31),
    "depth": range(1, 2),
    "normals": range(3, 4),
    "edges": range(1, 2),
    "saliency": range(1, 3),
}
"""Channels that the maps of each kind can have."""

Pathway = Literal["exact", "window", "calibrated"]
PATHWAYS: Final[tuple[str, ...]] = get_args(Pathway)
"""How the partition chooses the experts that a task keeps."""

ResizeFilter = Literal["pillow-bilinear", "pillow-bicubic", "torch-bilinear"]
RESIZE_FILTERS: Final[tuple[str, ...]] = get_args(ResizeFilter)
DEFAULT_FILTER: Final = "pillow-bilinear"

INPUT_DTYPES: Final = {"FLOAT": "float32", "INT64": "int64", "INT32": "int32", "UINT8": "uint8", "BOOL": "bool"}
"""What inputs of a model can be made of: ONNX's names and numpy's."""
OUTPUT_DTYPES: Final = ("float32", "int64", "int32", "bool", "uint8")
"""What outputs of tasks can be made of."""


def describe_shape(kind: str) -> str:
    """The shapes of an output that means ``kind``, for messages."""
    if kind == "classification":
        return "one axis of at least 2 classes, and all others 1, such as [1, classes]"
    if kind not in MAP_CHANNELS:
        return "any shape"
    channels = MAP_CHANNELS[kind]
    most = f" to {channels[-1]}" if len(channels) == 2 else " or more" if len(channels) > 2 else ""
    return f"[1, C, height, width] with C = {channels[0]}{most}"


def fits_kind(kind: str, shape: Sequence[int]) -> bool:
    """Whether an output of this shape can mean ``kind``."""
    if kind == "classification":
        return count_classes(shape) >= 2
    if kind not in MAP_CHANNELS:
        return True
    return len(shape) == 4 and shape[0] == 1 and shape[1] in MAP_CHANNELS[kind]


def count_classes(shape: Sequence[int]) -> int:
    """The classes of an output that is one score a class, 0 where more than one axis is longer than 1."""
    return prod(shape) if sum(size != 1 for size in shape) <= 1 else 0


def count_names(kind: str, shape: Sequence[int]) -> int:
    """How many class names a task can record: one a class; 0 where it has no classes."""
    if kind == "classification":
        return count_classes(shape)
    return shape[1] if kind == "segmentation" and fits_kind(kind, shape) else 0
