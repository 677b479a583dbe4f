"""The cheapest cut of a network with integer capacities."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, MutableMapping

Edge = tuple[Hashable, Hashable, int]
UNLIMITED = 2**62
Residual = MutableMapping[Hashable, MutableMapping[Hashable, int]]


def sink_side(edges: Iterable[Edge], source: Hashable, sink: Hashable) -> frozenset[Hashable]:
    """The nodes behind a cheapest cut from ``source`` to ``sink``, as few as possible, the sink among them.

    Paths with free capacity are filled, a shortest one first, until there is none (Edmonds and Karp, 1972). Some cut
    must be cheaper than `UNLIMITED`.
    """
    residual: Residual = {source: {}, sink: {}}
    for start, end, capacity in edges:
        residual.setdefault(start, {})
        residual.setdefault(end, {}).setdefault(start, 0)
        residual[start][end] = residual[start].get(end, 0) + capacity
    while (parents := _parents(residual, source, sink)) is not None:
        path = [sink]
        while path[-1] != source:
            path.append(parents[path[-1]])
        hops = [(path[at + 1], path[at]) for at in range(len(path) - 1)]
        amount = min(residual[start][end] for start, end in hops)
        for start, end in hops:
            residual[start][end] -= amount
            residual[end][start] += amount
    return _reaching(residual, sink)


def _parents(residual: Residual, source: Hashable, sink: Hashable) -> Mapping[Hashable, Hashable] | None:
    """By node the one before it on a shortest path with free capacity; None where none leads to the sink."""
    parents: dict[Hashable, Hashable] = {source: source}
    waiting = deque([source])
    while waiting:
        node = waiting.popleft()
        for neighbour, capacity in residual[node].items():
            if capacity and neighbour not in parents:
                parents[neighbour] = node
                waiting.append(neighbour)
    return parents if sink in parents else None


def _reaching(residual: Residual, sink: Hashable) -> frozenset[Hashable]:
    """The nodes from which the sink is reached along free capacity."""
    reaching, waiting = {sink}, deque([sink])
    while waiting:
        node = waiting.popleft()
        for neighbour in residual[node]:
            if neighbour not in reaching and residual[neighbour].get(node, 0):
                reaching.add(neighbour)
                waiting.append(neighbour)
    return frozenset(reaching)
