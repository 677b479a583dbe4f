"""Reads the layers off steps while they run, whoever runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from edgemtl.compare.meaning import real_values, seen_through
from edgemtl.compare.reading import Reading, Routing, sort_routing
from edgemtl.compare.stops import EXPERTS, ROUTERS, Stop
from edgemtl.lowering.ir import Step, View, dense
from edgemtl.operators import Array, Frame
from edgemtl.quantize.tensors import FLOAT_TENSOR, Tensor


class Machine(Protocol):
    """Runs steps one at a time."""

    def load(self, frame: Frame) -> None:
        """Put a frame in its place and forget the last one."""

    def run(self, index: int) -> None:
        """Run one step."""

    def read(self, view: View) -> Array:
        """The elements of a view as they are now; they may change with the next step."""


class SteppedSide:
    """Steps on a machine, stopped behind every layer. ``tensors`` says what the integers of each buffer stand for."""

    def __init__(
        self, steps: Sequence[Step], stops: Sequence[Stop], machine: Machine, tensors: Mapping[str, Tensor]
    ) -> None:
        self._steps, self._stops, self._machine, self._tensors = steps, stops, machine, tensors
        self._sizes: dict[str, int] = {}
        for view in (v for step in steps for v in (*step.inputs, *step.outputs)):
            self._sizes[view.buffer] = max(self._sizes.get(view.buffer, 0), view.extent_bytes // view.itemsize)

    def __call__(self, frame: Frame) -> Reading:
        """What the steps make of a frame."""
        self._machine.load(frame)
        layers, routers = dict[str, Array](), dict[str, Routing]()
        order, by_choice = dict[str, Array](), dict[str, str]()
        stops = {stop.step: stop for stop in self._stops}
        for index, step in enumerate(self._steps):
            self._machine.run(index)
            if isinstance(step.operator, ROUTERS):
                name = step.origin[0]
                routers[name], order[name] = self._routing(step)
            if (stop := stops.get(index)) is not None:
                layers[stop.name] = self._value(stop)
                if isinstance(step.operator, EXPERTS):
                    by_choice[stop.name] = step.origin[0]
                    layers[stop.name] = layers[stop.name][order[step.origin[0]]]
        return Reading(layers, routers, by_choice)

    def _value(self, stop: Stop) -> Array:
        tensor = self._tensors.get(stop.view.buffer, FLOAT_TENSOR)
        buffer = dense(stop.view.buffer, (self._sizes[stop.view.buffer],), stop.view.dtype)
        return seen_through(real_values(self._machine.read(buffer), tensor, stop.width), stop.view)

    def _routing(self, step: Step) -> tuple[Routing, Array]:
        """What a router chose, and the slots [T, k] of each token's experts in the order of the experts."""
        assert isinstance(step.operator, ROUTERS)
        weights, slots, first = (self._machine.read(step[name]).copy() for name in ("weights", "slots", "offsets"))
        tensor = self._tensors.get(step["weights"].buffer, FLOAT_TENSOR)
        chosen = np.searchsorted(first, slots, side="right") - 1
        experts = np.array(step.operator.candidates)[chosen]
        routing = sort_routing(experts, weights.astype(np.float64) * tensor.scale)
        return routing, np.take_along_axis(slots, np.argsort(experts, axis=-1, kind="stable"), -1)
