"""Placements made one buffer at a time, in several orders; the best of them is the first plan.

Orders and fit after Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
arXiv 2001.03288.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgemtl.schedule.model import Buffer, Timeline, aligned

Offsets = dict[str, int]


@dataclass(frozen=True)
class Problem:
    """Aligned sizes in bytes, and each buffer's lifetimes as (task, first, last)."""

    sizes: Mapping[str, int]
    spans: Mapping[str, tuple[tuple[int, int, int], ...]]

    @classmethod
    def of(cls, buffers: Sequence[Buffer], timelines: Sequence[Timeline]) -> Problem:
        """The problem of placing `buffers`; one that no timeline names conflicts with none."""
        spans: dict[str, list[tuple[int, int, int]]] = {buffer.name: [] for buffer in buffers}
        for task, timeline in enumerate(timelines):
            for name, life in timeline.items():
                spans[name].append((task, life.first, life.last))
        sizes = {buffer.name: aligned(buffer.bytes) for buffer in buffers}
        return cls(sizes, {name: tuple(of) for name, of in spans.items()})

    def conflicts(self) -> dict[str, list[str]]:
        """For every buffer the buffers alive at one of its steps, in some task."""
        by_task: dict[int, list[tuple[int, int, str]]] = {}
        for name, spans in self.spans.items():
            for task, first, last in spans:
                by_task.setdefault(task, []).append((first, last, name))
        conflicts: dict[str, set[str]] = {name: set() for name in self.sizes}
        for intervals in by_task.values():
            _sweep(sorted(intervals), conflicts)
        return {name: sorted(others) for name, others in conflicts.items()}

    def lower_bound(self) -> int:
        """The largest number of bytes alive at one step of one task."""
        changes: dict[tuple[int, int], int] = {}
        for name, spans in self.spans.items():
            for task, first, last in spans:
                for when, size in ((first, self.sizes[name]), (last + 1, -self.sizes[name])):
                    changes[task, when] = changes.get((task, when), 0) + size
        live, peak, current = 0, 0, -1
        for (task, _), change in sorted(changes.items()):
            live = change if task != current else live + change
            current, peak = task, max(peak, live)
        return peak

    def extent(self, offsets: Mapping[str, int]) -> int:
        """Bytes of the arena these offsets need."""
        return max((offset + self.sizes[name] for name, offset in offsets.items()), default=0)


def _sweep(intervals: list[tuple[int, int, str]], conflicts: dict[str, set[str]]) -> None:
    alive: list[tuple[int, str]] = []
    for first, last, name in intervals:
        alive = [(end, other) for end, other in alive if end >= first]
        for _, other in alive:
            conflicts[name].add(other)
            conflicts[other].add(name)
        alive.append((last, name))


def _orders(problem: Problem) -> Iterator[list[str]]:
    sizes, spans = problem.sizes, problem.spans
    length = {name: sum(last - first + 1 for _, first, last in of) for name, of in spans.items()}
    start = {name: min((first for _, first, _ in of), default=0) for name, of in spans.items()}
    keys: tuple[Callable[[str], tuple[int, ...]], ...] = (
        lambda n: (-sizes[n], -length[n], start[n]),
        lambda n: (-length[n], -sizes[n], start[n]),
        lambda n: (-sizes[n] * length[n], start[n]),
        lambda n: (start[n], -sizes[n], -length[n]),
    )
    for key in keys:
        yield [name for _, name in sorted((key(name), name) for name in sizes)]


def _best_fit(order: Sequence[str], problem: Problem, conflicts: Mapping[str, Sequence[str]]) -> Offsets:
    """Each buffer in the smallest hole between its placed conflicts that holds it, else on top of them."""
    offsets: Offsets = {}
    for name in order:
        taken = sorted((offsets[o], offsets[o] + problem.sizes[o]) for o in conflicts[name] if o in offsets)
        offsets[name] = _smallest_hole(taken, problem.sizes[name])
    return offsets


def _smallest_hole(taken: Sequence[tuple[int, int]], size: int) -> int:
    top, holes = 0, []
    for begin, end in taken:
        if begin - top >= size:
            holes.append((begin - top, top))
        top = max(top, end)
    return min(holes)[1] if holes else top


def place_greedily(problem: Problem) -> Offsets:
    """The smallest arena among the orders; ties go to the first."""
    conflicts = problem.conflicts()
    placements = [_best_fit(order, problem, conflicts) for order in _orders(problem)]
    return min(placements, key=problem.extent)
