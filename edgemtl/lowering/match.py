"""What a pattern matcher gives back, and how matches cover a graph.

A matcher looks at one node as the *last* node of its pattern and walks back through values that nothing
else reads. Nodes are visited from the output to the input, so the largest pattern that ends at a node
takes it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgemtl.graph import computed_inputs

if TYPE_CHECKING:
    from edgemtl.lowering.emit import Emitter


@dataclass(frozen=True)
class Group:
    """Nodes that become steps together. ``how`` is what `edgemtl check` shows: a kernel's name, "view" or
    "generic".
    """

    how: str
    nodes: tuple[ir.Node, ...]
    emit: Callable[[Emitter], None]
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Refusal:
    """A pattern that was recognised but that its kernel cannot run."""

    reason: str
    hint: str


Matcher = Callable[[ir.Node], "Group | Refusal | None"]


@dataclass
class _Cover:
    """The groups found so far; a node belongs to one group."""

    taken: dict[ir.Node, Group] = field(default_factory=dict)

    def accept(self, group: Group) -> bool:
        if any(node in self.taken for node in group.nodes):
            return False
        self.taken.update((node, group) for node in group.nodes)
        return True


def cover(nodes: Sequence[ir.Node], matchers: Sequence[Matcher], otherwise: Callable[..., Group]) -> list[Group]:
    """Every node in exactly one group, in an order that respects the data flow.

    ``nodes`` are in topological order. ``otherwise(node, refusal)`` makes the group of a node no matcher
    takes.
    """
    groups = _Cover()
    for node in reversed(nodes):
        if node not in groups.taken:
            _take(node, matchers, otherwise, groups)
    return _in_order(nodes, groups.taken)


def _take(node: ir.Node, matchers: Sequence[Matcher], otherwise: Callable[..., Group], groups: _Cover) -> None:
    refusal: Refusal | None = None
    for matcher in matchers:
        match = matcher(node)
        if isinstance(match, Group) and groups.accept(match):
            return
        refusal = refusal or (match if isinstance(match, Refusal) else None)
    groups.accept(otherwise(node, refusal))


def _in_order(nodes: Sequence[ir.Node], taken: Mapping[ir.Node, Group]) -> list[Group]:
    """Groups in data-flow order; among those that are ready, the one whose last node comes first in the
    graph.
    """
    position = {node: i for i, node in enumerate(nodes)}
    groups = {id(group): group for group in (taken[node] for node in nodes)}
    last = {key: max(position[node] for node in group.nodes) for key, group in groups.items()}
    waits = {key: _needs(group, taken) for key, group in groups.items()}
    ready = [(last[key], key) for key, needs in waits.items() if not needs]
    heapq.heapify(ready)
    order: list[Group] = []
    while ready:
        _, key = heapq.heappop(ready)
        order.append(groups[key])
        for other, needs in waits.items():
            if key in needs:
                needs.discard(key)
                if not needs:
                    heapq.heappush(ready, (last[other], other))
    assert len(order) == len(groups), "groups must not wait for each other"
    return order


def _needs(group: Group, taken: Mapping[ir.Node, Group]) -> set[int]:
    """Keys of the groups that compute what this one reads."""
    producers = (v.producer() for v in _reads(group.nodes))
    return {id(taken[node]) for node in producers if node is not None and taken[node] is not group}


def _reads(nodes: Iterable[ir.Node]) -> Iterable[ir.Value]:
    return (value for node in nodes for value in computed_inputs(node))
