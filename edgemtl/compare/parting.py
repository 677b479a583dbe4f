"""Where a compiled task first departs from what it was compiled from."""

from __future__ import annotations

from edgemtl.compare.comparison import Limits, compare_sides
from edgemtl.compare.sides import make_pair
from edgemtl.errors import EdgemtlError
from edgemtl.operators import Frame
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget
from edgemtl.quantize.quantised_model import Quantised

APART_DB = 60.0
"""Layers in float32 agree by 100 dB and more, integer ones to the bit."""
READ_WRONG = "none, so the model was read as another one"


def first_apart(task: TaskModel, target: CpuTarget, quantised: Quantised | None, frame: Frame) -> str | None:
    """The first layer of a compiled task whose values are off on ``frame``; None where they cannot be compared.

    Where all agree with the graph the task was compiled from, it says that this is not the user's.
    """
    names = ("onnx", "fp32") if quantised is None else ("functional", "int8")
    try:
        pair = make_pair(task, target, names, quantised, None)
        layer = compare_sides(pair, task, [frame], Limits(APART_DB)).first
    except EdgemtlError:
        return None
    return READ_WRONG if layer is None else layer.name
