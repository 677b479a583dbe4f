"""Orders of the same steps that keep fewer bytes alive at once.

Branches are what there is to gain from: a chain has one order. The exact search is the minimax path over sets
of finished steps (Liberis and Lane, "Neural networks on microcontrollers", arXiv 1910.05110); where the sets
are too many, list scheduling stands.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgemtl.schedule.lifetimes import boundary
from edgemtl.schedule.model import Slot, aligned

SEARCH_STATES = 20_000
"""Sets of finished steps the exact search may look at before it gives up."""

Order = tuple[int, ...]


def reorder_tasks(tasks: Sequence[Sequence[Slot]], sizes: Mapping[str, int], common_prefix: int) -> tuple[Order, ...]:
    """For each task the order its steps should run in, as indices into them.

    The first `common_prefix` steps, the same in all tasks, stay first and get one order for all tasks.
    sizes: bytes of every buffer. No task's peak rises.
    """
    crossing = boundary(tasks, common_prefix)
    prefix = reorder(tasks[0][:common_prefix], sizes, crossing) if tasks else ()
    behind = (reorder(steps[common_prefix:], sizes, crossing) for steps in tasks)
    return tuple((*prefix, *(common_prefix + index for index in order)) for order in behind)


def reorder(steps: Sequence[Slot], sizes: Mapping[str, int], keep: Collection[str] = ()) -> Order:
    """The order with the lowest peak found; the given one where none is lower.

    keep: buffers that must outlive the steps. A buffer read before any step writes it comes from outside and
    counts as kept. The given order must be one that works: it decides which step feeds which.
    """
    graph = _Graph.of(steps, sizes, keep)
    given = tuple(range(len(steps)))
    best = min(given, _list_schedule(graph), key=graph.peak)
    return _search(graph, graph.peak(best)) or best


@dataclass(frozen=True)
class _Graph:
    """Steps as bits: `needs[s]` must be finished before s; `users[b]` are the steps that touch buffer b."""

    sizes: Mapping[str, int]
    touches: tuple[tuple[str, ...], ...]
    needs: tuple[int, ...]
    users: Mapping[str, int]
    outliving: frozenset[str]
    from_outside: int

    @classmethod
    def of(cls, steps: Sequence[Slot], sizes: Mapping[str, int], keep: Collection[str]) -> _Graph:
        touches = tuple(tuple(sorted(step.touches)) for step in steps)
        users: dict[str, int] = {}
        for index, names in enumerate(touches):
            for name in names:
                users[name] = users.get(name, 0) | 1 << index
        outside = _read_first(steps)
        padded = {name: aligned(sizes[name]) for name in users}
        # Always alive, so they lift every order's peak alike.
        constant = sum(padded[name] for name in outside)
        padded.update(dict.fromkeys(outside, 0))
        return cls(padded, touches, _needs(steps), users, frozenset(keep) | outside, constant)

    def advance(self, done: int, live: int, step: int) -> tuple[int, int]:
        """(bytes alive while `step` runs after the steps in `done`, bytes alive afterwards)."""
        during, freed, after = live, 0, done | 1 << step
        for name in self.touches[step]:
            users = self.users[name]
            if not users & done:
                during += self.sizes[name]
            if not users & ~after and name not in self.outliving:
                freed += self.sizes[name]
        return during, during - freed

    def ready(self, done: int) -> Iterator[int]:
        """Steps not finished whose needs are, in the given order."""
        return (s for s, needs in enumerate(self.needs) if not done >> s & 1 and needs & ~done == 0)

    def peak(self, order: Sequence[int]) -> int:
        done, live, peak = 0, self.from_outside, 0
        for step in order:
            during, live = self.advance(done, live, step)
            done, peak = done | 1 << step, max(peak, during)
        return peak


def _read_first(steps: Sequence[Slot]) -> frozenset[str]:
    written: set[str] = set()
    outside: set[str] = set()
    for step in steps:
        outside.update(name for name in step.reads if name not in written)
        written.update((*step.writes, *step.workspaces))
    return frozenset(outside)


def _needs(steps: Sequence[Slot]) -> tuple[int, ...]:
    """For every step the earlier ones it must follow: writers of what it touches, users of what it writes."""
    masks = []
    for index, step in enumerate(steps):
        produced = {*step.writes, *step.workspaces}
        mask = 0
        for before, earlier in enumerate(steps[:index]):
            clash = step.touches & {*earlier.writes, *earlier.workspaces} or produced & earlier.touches
            mask |= bool(clash) << before
        masks.append(mask)
    return tuple(masks)


def _list_schedule(graph: _Graph) -> Order:
    """Always the ready step that lifts the peak least, then the one that leaves least alive."""
    order: list[int] = []
    done, live, peak = 0, graph.from_outside, 0
    while len(order) < len(graph.needs):
        options = [(*graph.advance(done, live, step), step) for step in graph.ready(done)]
        during, live, step = min(options, key=lambda option: (max(peak, option[0]), *option[1:]))
        done, peak = done | 1 << step, max(peak, during)
        order.append(step)
    return tuple(order)


def _search(graph: _Graph, limit: int) -> Order | None:
    """The order of lowest peak if that is below `limit`; None if it is not, or the search grows too large."""
    everything = (1 << len(graph.needs)) - 1
    heap: list[tuple[int, int, int, int]] = [(0, 0, 0, graph.from_outside)]
    best: dict[int, tuple[int, int]] = {0: (0, -1)}  # set of finished steps -> (lowest peak so far, last step)
    while heap and len(best) <= SEARCH_STATES:
        peak, _, done, live = heapq.heappop(heap)
        if done == everything:
            return _backtrack(best, done)
        if peak > best[done][0]:
            continue  # reached again, lower, after this entry was pushed
        for step in graph.ready(done):
            during, after = graph.advance(done, live, step)
            to, top = done | 1 << step, max(peak, during)
            if top < limit and top < best.get(to, (limit, -1))[0]:
                best[to] = top, step
                heapq.heappush(heap, (top, -to.bit_count(), to, after))
    return None


def _backtrack(best: Mapping[int, tuple[int, int]], done: int) -> Order:
    order = []
    while done:
        step = best[done][1]
        order.append(step)
        done ^= 1 << step
    return tuple(reversed(order))
