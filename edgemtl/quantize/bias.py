"""Bias correction: the bias of a layer compensates the mean error that rounding causes in its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgemtl.lowering.execute import Memory, run_step, run_steps
from edgemtl.lowering.ir import Constant, Step
from edgemtl.operators import Array, Frame, Values
from edgemtl.progress import counting, tick
from edgemtl.quantize.align import Tasks, shared_layers
from edgemtl.quantize.build import IntegerTask
from edgemtl.quantize.correctable import Correctable


def correct_biases(
    floats: Tasks, integers: Mapping[str, IntegerTask], images: Sequence[Frame]
) -> dict[str, IntegerTask]:
    """The tasks with corrected biases: the mean output of each layer, per channel, equals that of the float layer.

    Layers are corrected in order, so that each sees the results of corrected layers. Tasks that share a layer and its
    integers share its correction, the mean of their own. Layers followed by a lookup table, and expert layers, are not
    corrected; the next layer absorbs their error.
    """
    with counting("images run for means", len(floats) * len(images)):
        means = {task: _float_means(floats[task], integers[task], images) for task in floats}
    states = {task: _State(integers[task], images) for task in floats}
    layers = shared_layers(floats) if len(floats) > 1 else []
    count = max(len(steps) for steps in floats.values())
    with counting("layers corrected", count):
        for index in range(count):
            for state in states.values():
                state.run(index)
            group = layers[index] if index < len(layers) else frozenset[str]()
            _correct_layer(index, states, group, means)
            tick()
    return {task: state.result() for task, state in states.items()}


def _correct_layer(
    index: int, states: Mapping[str, _State], shared: frozenset[str], means: Mapping[str, Mapping[int, Array]]
) -> None:
    """Correct float step ``index`` in every task; those in ``shared`` with equal integers by their mean error."""
    left = [task for task in states if states[task].correctable(index) is not None]
    while left:
        group = shared if left[0] in shared else {left[0]}
        first = states[left[0]].bias(index)
        members = [task for task in left if task in group and states[task].bias(index) == first]
        error = np.mean([means[t][index] - states[t].mean(index) for t in members], axis=0)
        for task in members:
            states[task].correct(index, error)
        left = [task for task in left if task not in members]


def _float_means(steps: Sequence[Step], integer: IntegerTask, images: Sequence[Frame]) -> dict[int, Array]:
    """Mean output per channel of every float step whose integer form can be corrected."""
    sources = {c.source for c in integer.correctable}
    sums: dict[int, Array] = {}

    def watch(index: int, values: Values, outputs: Mapping[str, Array]) -> None:
        if index in sources:
            sums[index] = sums.get(index, 0.0) + _channel_mean(outputs["y"])

    for image in images:
        run_steps(steps, image, watch)
        tick()
    return {index: total / len(images) for index, total in sums.items()}


def _channel_mean(rows: Array) -> Array:
    """The mean over all but the last axis."""
    return np.asarray(rows.reshape(-1, rows.shape[-1]).mean(0, dtype=np.float64))


class _State:
    """One task on all images, run up to the layer that is being corrected."""

    def __init__(self, task: IntegerTask, images: Sequence[Frame]) -> None:
        self.task, self.steps = task, list(task.steps)
        self.memories = [Memory(task.steps, image) for image in images]
        self._by_source = {c.source: c for c in task.correctable}

    def correctable(self, index: int) -> Correctable | None:
        return self._by_source.get(index)

    def bias(self, index: int) -> Constant:
        """The bias of a layer that can be corrected."""
        return self.steps[self._by_source[index].step].constant("bias")

    def run(self, index: int) -> None:
        """Run the integer steps of float step ``index``."""
        for at, source in enumerate(self.task.sources):
            if source == index:
                self._run(at)

    def _run(self, at: int) -> None:
        for memory in self.memories:
            run_step(at, self.steps[at], memory)

    def mean(self, index: int) -> Array:
        """The mean of a layer's output in real numbers."""
        view = self.steps[self._by_source[index].step].result
        tensor = self.task.tensors[view.buffer]
        means = [_channel_mean(memory.read(view)) for memory in self.memories]
        mean = np.mean(means, axis=0) - tensor.zero
        return np.asarray(mean * (tensor.scale if tensor.parts is None else np.repeat(tensor.parts, len(mean) // 3)))

    def correct(self, index: int, error: Array) -> None:
        """Add ``error`` [n] to a layer's bias, and run it and the following integer steps of its float step again."""
        place = self._by_source[index]
        step = self.steps[place.step]
        bias = step.constant("bias")
        moved = np.clip(bias.array + np.rint(error / place.unit), -(2**30), 2**30).astype(np.int32)
        self.steps[place.step] = step.with_constant("bias", Constant(bias.name, moved))
        for at in range(place.step, len(self.steps)):
            if self.task.sources[at] == index:
                self._run(at)

    def result(self) -> IntegerTask:
        return replace(self.task, steps=tuple(self.steps))
