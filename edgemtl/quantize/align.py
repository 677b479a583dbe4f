"""Which steps of several tasks are the same layer of the trunk, so that they get the same ranges and parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from edgemtl import operators as ops
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array, Operator
from edgemtl.quantize.observe import Observation, Range

Tasks = Mapping[str, Sequence[Step]]


def shared_layers(tasks: Tasks) -> list[frozenset[str]]:
    """For each step index, the tasks that share the layer at this step; empty where fewer than two do.

    Tasks share a layer where the sizes of their steps are equal and the steps share a weight, or have no weights and
    read only from shared layers.
    """
    names, layers = list(tasks), list[frozenset[str]]()
    shortest = min(len(steps) for steps in tasks.values())
    first = tasks[names[0]]
    for index in range(shortest):
        group = [names[0]]
        group += [n for n in names[1:] if _is_one_layer(first, tasks[n], index, [n in g for g in layers])]
        layers.append(frozenset(group) if len(group) > 1 else frozenset())
    return layers


def _is_one_layer(a: Sequence[Step], b: Sequence[Step], index: int, before: Sequence[bool]) -> bool:
    one, other = a[index], b[index]
    if _sizes(one.operator) != _sizes(other.operator):
        return False
    if one.constants and not isinstance(one.operator, UNTRAINED):
        keys = {c.key for c in one.constants}
        return any(c.key in keys for c in other.constants)
    makers = {view.buffer: i for i in range(index) for view in a[i].outputs}
    return all(before[makers[view.buffer]] for view in one.inputs if view.buffer in makers)


UNTRAINED = ops.Pool, ops.Resample
"""Operators whose constants follow from their sizes: equal ones do not tell that two layers are one."""


def _sizes(operator: Operator) -> Operator:
    """An operator without what differs between two tasks' pathways through one layer."""
    if isinstance(operator, ops.Router | ops.Dispatch):
        return replace(operator, candidates=())
    if isinstance(operator, ops.Experts):
        return replace(operator, slots=0)
    return operator


def share_ranges(tasks: Tasks, seen: Mapping[str, Observation]) -> dict[str, Observation]:
    """Observations in which the tasks that share a layer have the same range, and the same extreme per channel.

    A task whose own range is much smaller than the union gets the union divided by a power of two: its integers keep
    their resolution, while tasks with similar ranges share the same stored parameters.
    """
    layers = shared_layers(tasks)
    return {task: _shared(task, seen, layers) for task in tasks}


def _shared(task: str, seen: Mapping[str, Observation], layers: Sequence[frozenset[str]]) -> Observation:
    own = seen[task]
    ranges = {name: _range(name, task, seen, layers) for name in own.ranges}
    channels = {index: _extremes(index, task, seen, layers) for index in own.channels}
    return Observation(ranges, channels)


def _members(index: int, task: str, layers: Sequence[frozenset[str]]) -> frozenset[str]:
    group = layers[index] if index < len(layers) else frozenset()
    return group if task in group else frozenset({task})


MOST_SPREAD = 4.0
"""How much wider than its own a shared range may be: a task with values of another sign keeps its own instead."""


def _range(name: str, task: str, seen: Mapping[str, Observation], layers: Sequence[frozenset[str]]) -> Range:
    if not name[0].isdigit():
        return seen[task].ranges[name]
    members = _members(int(name.split(".")[0]), task, layers)
    own = seen[task].ranges[name]
    shared = halved(reduce(Range.union, (seen[member].ranges[name] for member in members)), own)
    return own if shared.high - shared.low > MOST_SPREAD * (own.high - own.low) else shared


def halved(union: Range, own: Range) -> Range:
    """The union divided by the largest power of two for which it still contains ``own``."""
    ends = [(abs(u), abs(o)) for u, o in ((union.low, own.low), (union.high, own.high)) if u]
    # A denormal end would make the ratio infinite.
    ratios = [min(u / o, sys.float_info.max) if o else 2.0**16 for u, o in ends]
    times = min((int(np.floor(np.log2(ratio))) for ratio in ratios), default=0)
    factor = 2.0 ** -max(times, 0)
    return Range(union.low * factor, union.high * factor)


def _extremes(index: int, task: str, seen: Mapping[str, Observation], layers: Sequence[frozenset[str]]) -> Array:
    members = _members(index, task, layers)
    return reduce(np.maximum, (seen[member].channels[index] for member in members))
