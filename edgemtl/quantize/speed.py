"""Which layers of an integer program run in float32 because that is faster on the target: whole runs of them.

A step costs what its kernel takes, in float32 or in integers, and a value that is written in one and read in the other
costs a conversion. The cheapest choice for all steps together is a cheapest cut between the steps in integers and those
in float32. Times are those of `TIMES`, never of the machine that compiles: the same model gives the same program.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.lowering.ir import INPUTS, OUTPUT, Step, space_of
from edgemtl.operators import Operator
from edgemtl.quantize.align import Tasks
from edgemtl.quantize.min_cut import UNLIMITED, Edge, sink_side

Chosen = Mapping[str, frozenset[int]]
INTEGERS, FLOATS = "integers", "floats"
"""The source and the sink of the network."""


@dataclass(frozen=True)
class Times:
    """Picoseconds of a kernel: for each element of the result, and for each product that it sums."""

    element: int
    product: int = 0

    def of(self, elements: int, products: int = 0) -> int:
        """Picoseconds of a result."""
        return elements * (self.element + self.product * products)


@dataclass(frozen=True)
class TargetTimes:
    """Times of a target in float32 and in integers; ``table``: of an activation behind a layer that is no clamp."""

    dense: tuple[Times, Times]
    depthwise: tuple[Times, Times]
    binary: tuple[Times, Times]
    table: tuple[Times, Times]
    conversion: Times


TIMES: Mapping[str, TargetTimes] = {
    "cpu-avx2": TargetTimes(
        dense=(Times(0, 15), Times(200, 10)),
        depthwise=(Times(30, 17), Times(150, 12)),
        binary=(Times(100), Times(70)),
        table=(Times(20), Times(80)),
        conversion=Times(90),
    )
}
"""By target, of those on which an integer kernel is slower than that of float32 by more than the noise of 5%.

Measured on one core of an AMD EPYC (Zen 5), 2026-11-30, with ``python -m benchmarks.operators --ours``: with AVX-512
and with VNNI no kernel is. With AVX2 these are depthwise convolutions up to 5x5, and layers that sum fewer than 40
products: their sums cost more to requantise than to take. Other targets have not been measured, and keep integers.
"""
CALL = 500_000
"""Picoseconds that another step takes beside its work, which keeps small layers together."""
CLAMPS = frozenset({"", "relu", "relu6"})
CHEAP = frozenset({"hard_swish", "hard_sigmoid"})
"""Activations that float32 computes in a few instructions; all others are faster by a table."""


def faster_in_float(tasks: Tasks, in_float: Chosen, target: str) -> dict[str, frozenset[int]]:
    """The steps to run in float32 besides those ``in_float``, which run so in any case; by task.

    Steps that all tasks begin with are decided once, so that they stay common.
    """
    if target not in TIMES:
        return {task: frozenset() for task in tasks}
    names = _Names(tasks)
    behind = sink_side(_edges(tasks, in_float, TIMES[target], names), INTEGERS, FLOATS)
    return {
        task: frozenset(
            index
            for index, step in enumerate(steps)
            if names.step(task, index) in behind
            and index not in in_float[task]
            and _times(step.operator, TIMES[target]) is not None
        )
        for task, steps in tasks.items()
    }


class _Names:
    """Nodes of steps and values: the same for those that all tasks begin with."""

    def __init__(self, tasks: Tasks) -> None:
        self._common = _common_steps(list(tasks.values()))
        first = next(iter(tasks.values()))
        self._values = {view.buffer for step in first[: self._common] for view in step.outputs}

    def step(self, task: str, index: int) -> Hashable:
        """The node of a step."""
        return ("step", "" if index < self._common else task, index)

    def value(self, task: str, buffer: str) -> Hashable:
        """The name of a value."""
        return ("" if buffer in self._values else task, buffer)


def _common_steps(tasks: Sequence[Sequence[Step]]) -> int:
    """How many steps all tasks begin with."""
    for index, steps in enumerate(zip(*tasks, strict=False)):
        if any(_described(step) != _described(steps[0]) for step in steps):
            return index
    return min(map(len, tasks))


def _described(step: Step) -> tuple[object, ...]:
    return step.operator, step.origin, step.views


def _edges(tasks: Tasks, in_float: Chosen, times: TargetTimes, names: _Names) -> Iterator[Edge]:
    """The network: what each step costs on either side, and a conversion for each value that crosses."""
    writers: defaultdict[Hashable, dict[Hashable, None]] = defaultdict(dict)
    readers: defaultdict[Hashable, dict[Hashable, None]] = defaultdict(dict)
    sizes: dict[Hashable, int] = {}
    known: set[Hashable] = set()
    for task, steps in tasks.items():
        for index, step in enumerate(steps):
            node = names.step(task, index)
            for view, ends in [*((v, readers) for v in step.inputs), *((v, writers) for v in step.outputs)]:
                value = names.value(task, view.buffer)
                ends[value][node] = None
                sizes[value] = max(sizes.get(value, 0), view.size)
                if space_of(view.buffer) == INPUTS:
                    writers[value][FLOATS] = None
                if view.buffer == OUTPUT:
                    readers[value][FLOATS] = None
            if node not in known:
                known.add(node)
                yield from _costs(node, _times(step.operator, times), index in in_float[task])
    for value, size in sizes.items():
        yield from _conversions(value, CALL + times.conversion.of(size), list(writers[value]), list(readers[value]))


def _costs(node: Hashable, times: tuple[int, int] | None, is_float: bool) -> Iterator[Edge]:
    """A step's edges: cut from the integers it costs its time in float32, from the floats that in integers."""
    if is_float:
        yield node, FLOATS, UNLIMITED
    elif times is None:
        yield INTEGERS, node, UNLIMITED
    else:
        yield INTEGERS, node, times[0]
        yield node, FLOATS, times[1]


def _conversions(
    value: Hashable, time: int, writers: Sequence[Hashable], readers: Sequence[Hashable]
) -> Iterator[Edge]:
    """Once to float32 where a reader needs that of integers, once to integers where a reader needs those of floats."""
    for writer in writers:
        yield writer, ("float", value), time
        yield ("integer", value), writer, time
    for reader in readers:
        yield ("float", value), reader, UNLIMITED
        yield reader, ("integer", value), UNLIMITED


def _times(operator: Operator, times: TargetTimes) -> tuple[int, int] | None:
    """What a step takes in float32 and in integers; None where it stays in integers."""
    size = sum(kind.size for kind in operator.signature.outputs.values())
    match operator:
        case ops.Conv2d() if operator.groups == operator.cin == operator.cout > 1:
            return _with_activation(times.depthwise, size, math.prod(operator.kernel), operator.activation, times)
        case ops.Conv2d(groups=1):
            products = operator.cin * math.prod(operator.kernel)
            return _with_activation(times.dense, size, products, operator.activation, times)
        case ops.Linear(residual=False):
            return _with_activation(times.dense, size, operator.k, operator.activation, times)
        case ops.Add() | ops.Multiply():
            return times.binary[0].of(size), times.binary[1].of(size)
        case ops.Copy():
            return 0, 0
        case _:
            return None


def _with_activation(
    layer: tuple[Times, Times], size: int, products: int, activation: str, times: TargetTimes
) -> tuple[int, int] | None:
    if activation not in CLAMPS | CHEAP:
        return None
    floats, integers = (time.of(size, products) for time in layer)
    if activation in CLAMPS:
        return floats, integers
    return floats + times.table[0].of(size), integers + times.table[1].of(size)
