"""How far the output of a quantised model moves where its values fall on the other side of a rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.rounding import count_roundings, find_rounding
from edgemtl.golden.pairs import spread
from edgemtl.graph import add_constant, replace_operand
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array, Frame
from edgemtl.partition import TaskModel

SHAKES = (1 - 2.0**-16, 1 + 2.0**-16)
"""Factors of what is rounded: other orders of additions change it about 100 times less, so they round fewer values
otherwise.
"""


def rounding_meter(task: TaskModel) -> Callable[[Frame], float]:
    """From a frame to the largest change of the task's output where all that is rounded is a little off; 0 for a model
    that does not round.
    """
    if not count_roundings(task.ir.graph):
        return lambda frame: 0.0
    sessions = [*_sessions(task)]

    def measure(frame: Frame) -> float:
        answer, *others = (_answer(session, task, frame) for session in sessions)
        return spread(others, answer)

    return measure


def _answer(session: Any, task: TaskModel, frame: Frame) -> Array:
    return np.asarray(session.run([task.task.output], task.feed(frame))[0])


def _sessions(task: TaskModel) -> Iterator[Any]:
    """onnxruntime on the task as it is, and shaken."""
    for factor in (1.0, *SHAKES):
        shaken = task.ir.clone()
        for node in tuple(shaken.graph):
            rounding = find_rounding(node)
            division = rounding.nodes[-1] if rounding is not None else None
            if rounding is not None and division is not None and division.op_type == "Div":
                scale = np.array(rounding.scale / factor, np.float32)
                replace_operand(division, "B", add_constant(shaken.graph, f"{node.name}.shaken", scale))
        yield open_session(ir.to_proto(shaken).SerializeToString())
