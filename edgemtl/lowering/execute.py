"""Runs the steps of a task in numpy by the definitions of their operators: the float reference and the integer law."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgemtl.lowering.ir import INPUT, OUTPUT, Step, View
from edgemtl.onnx_runtime import multiply
from edgemtl.operators import Array, Frame, Operator, Values

Compute = Callable[[Operator, Values], tuple[Array, ...]]
"""An operator's outputs: its definition, or a changed one."""

Watch = Callable[[int, Values, Mapping[str, Array]], None]
"""Called behind each step with its index, what it computed with, and its outputs by name."""


def by_definition(operator: Operator, values: Values) -> tuple[Array, ...]:
    """What an operator computes."""
    return operator.compute(values)


class Memory:
    """The buffers of a task, each as long as the furthest element a step touches."""

    def __init__(self, steps: Sequence[Step], frame: Frame) -> None:
        self._buffers: dict[str, Array] = {}
        for view in (v for step in steps for v in (*step.inputs, *step.outputs)):
            self._grow(view)
        self._buffers |= {f"{INPUT}{name}": np.ascontiguousarray(array).reshape(-1) for name, array in frame.items()}

    def _grow(self, view: View) -> None:
        needed, buffer = view.extent_bytes // view.itemsize, self._buffers.get(view.buffer)
        if buffer is None or len(buffer) < needed:
            self._buffers[view.buffer] = np.zeros(needed, view.dtype)

    def read(self, view: View) -> Array:
        """The elements of a view, not copied."""
        buffer = self._buffers[view.buffer]
        strides = tuple(s * view.itemsize for s in view.strides)
        return np.lib.stride_tricks.as_strided(buffer[view.offset :], view.shape, strides)

    def write(self, view: View, array: Array) -> None:
        """Put an array where a view looks; its dtype must be the view's."""
        assert array.dtype == view.dtype, f"a step must write {view.dtype}, not {array.dtype}"
        self.read(view)[...] = array.reshape(view.shape)


def run_steps(
    steps: Sequence[Step], frame: Frame, watch: Watch | None = None, compute: Compute = by_definition
) -> Array:
    """The contents of the output buffer, flat, after all steps."""
    memory = Memory(steps, frame)
    for index, step in enumerate(steps):
        run_step(index, step, memory, watch, compute)
    last = max((v for s in steps for v in s.outputs if v.buffer == OUTPUT), key=lambda v: v.extent_bytes)
    return memory.read(View(OUTPUT, (last.extent_bytes // last.itemsize,), (1,), 0, last.dtype)).copy()


def run_step(
    index: int, step: Step, memory: Memory, watch: Watch | None = None, compute: Compute = by_definition
) -> None:
    """Run one step on ``memory``."""
    signature = step.operator.signature
    inputs, constants = [memory.read(view) for view in step.inputs], [c.array for c in step.constants]
    values = Values(signature, inputs, constants, multiply)
    outputs = compute(step.operator, values)
    for view, array in zip(step.outputs, outputs, strict=True):
        memory.write(view, array)
    if watch is not None:
        watch(index, values, dict(zip(signature.outputs, outputs, strict=True)))
