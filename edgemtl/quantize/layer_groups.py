"""Layers that can only change their precision together, over all tasks that share them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.lowering.ir import Step
from edgemtl.quantize.align import Tasks, shared_layers
from edgemtl.quantize.norms import readers
from edgemtl.quantize.widths import READERS

Node = tuple[str, int]
"""A task and the index of one of its float steps."""


@dataclass(frozen=True)
class LayerGroup:
    """Float steps by task, with the names of all, the one with most multiply-accumulates first.

    macs, weights: multiply-accumulates and weights, those that tasks share counted once.
    """

    steps: Mapping[str, frozenset[int]]
    names: tuple[str, ...]
    macs: int
    weights: int
    can_widen: bool


def group_layers(tasks: Tasks) -> tuple[LayerGroup, ...]:
    """Every step of every task in exactly one group, in the order of the first task that has it."""
    leader: dict[Node, Node] = {(task, i): (task, i) for task, steps in tasks.items() for i in range(len(steps))}

    def find(node: Node) -> Node:
        while leader[node] != node:
            node = leader[node]
        return node

    for first, *others in _bonds(tasks):
        for other in others:
            leader[find(other)] = find(first)
    members: dict[Node, list[Node]] = {}
    for node in leader:
        members.setdefault(find(node), []).append(node)
    return tuple(_group(tasks, nodes) for nodes in members.values())


def _bonds(tasks: Tasks) -> Iterator[list[Node]]:
    """Steps that must have one precision: those of one layer in several tasks, and what `_together` says of a task."""
    for index, group in enumerate(shared_layers(tasks) if len(tasks) > 1 else ()):
        if group:
            yield [(task, index) for task in sorted(group)]
    for task, steps in tasks.items():
        for indices in _together(steps):
            yield [(task, index) for index in indices]


def _together(steps: Sequence[Step]) -> Iterator[list[int]]:
    """A LayerNorm and its readers, attention and what makes its q, k and v, and the steps of a mixture."""
    position = {id(step): index for index, step in enumerate(steps)}
    writers = {step.result.buffer: index for index, step in enumerate(steps) if step.outputs}
    for index, step in enumerate(steps):
        if isinstance(step.operator, ops.LayerNorm):
            yield [index, *(position[id(reader)] for reader in readers(steps, index))]
        if isinstance(step.operator, ops.Attention) and step["qkv"].buffer in writers:
            yield [index, writers[step["qkv"].buffer]]
        if isinstance(step.operator, ops.Router):
            routes = {view.buffer for view in step.outputs}
            yield [index, *(i for i, s in enumerate(steps) if any(v.buffer in routes for v in s.inputs))]
            yield [index, writers[step["logits"].buffer]]


def _group(tasks: Tasks, nodes: Sequence[Node]) -> LayerGroup:
    steps = [tasks[task][index] for task, index in nodes]
    by_task = {task: frozenset(i for t, i in nodes if t == task) for task in dict.fromkeys(t for t, _ in nodes)}
    distinct = {c.key: c.array.size for step in steps for c in step.constants}
    macs = sum(step.operator.macs for step in steps) // len(by_task)
    can_widen = any(isinstance(step.operator, READERS) for step in steps)
    by_work = sorted(steps, key=lambda step: -step.operator.macs)
    names = tuple(dict.fromkeys(step.origin[0] for step in by_work))
    return LayerGroup(by_task, names, macs, sum(distinct.values()), can_widen)
