"""Experts with fewer hidden units, so that a region can be run many times for little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.recognise.experts import ExpertStack
from edgemtl.frontend.recognise.linear import ExpertLayer, bias_of
from edgemtl.graph import array_of, is_constant

UNITS = 32
"""Hidden units left: enough for every token to reach some."""
HIDDEN = {"w1": 2, "b1": 1, "w2": 1, "w3": 2, "b3": 1}
"""The axis of hidden units of the arrays that have one."""


@dataclass(frozen=True)
class ThinExperts:
    """Experts of fewer hidden units, and the constants that give a region those experts."""

    experts: ExpertStack
    constants: dict[ir.Value, np.ndarray]


def thin(experts: ExpertStack) -> ThinExperts | None:
    """At most `UNITS` hidden units of every expert, spread evenly; None where the constants do not show their axes."""
    hidden = experts.w1.shape[2]
    if hidden <= UNITS:
        return ThinExperts(experts, {})
    units = np.linspace(0, hidden - 1, UNITS).astype(np.int64)
    constants: dict[ir.Value, np.ndarray] = {}
    for value, axis in (use for layers in experts.layers for use in _hidden_axes(layers)):
        array = array_of(value)
        if axis is None or array is None or not is_constant(value) or array.shape[axis] != hidden:
            return None
        constants[value] = array.take(units, axis)
    fewer = experts.with_arrays(lambda name, array: array.take(units, HIDDEN[name]) if name in HIDDEN else array)
    return ThinExperts(fewer, constants)


def _hidden_axes(layers: tuple[ExpertLayer, ...]) -> Iterator[tuple[ir.Value, int | None]]:
    """The constants of an expert that have an axis of hidden units, and which it is."""
    *firsts, last = layers
    yield last.operand, last.axes and last.axes[0]
    for first in firsts:
        yield first.operand, first.axes and first.axes[1]
        operand, biases = bias_of(first)
        if operand is not None and biases is not None:
            yield operand, -1 if biases.ndim else None
