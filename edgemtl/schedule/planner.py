"""Offsets for every buffer of every task in one arena."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.schedule.greedy import Problem, place_greedily
from edgemtl.schedule.improve import improve
from edgemtl.schedule.model import Buffer, Plan, Timeline

SEARCH_LIMIT = 8.0
"""Deterministic seconds CP-SAT may search; most models are at the lower bound before it starts."""


def plan(buffers: Sequence[Buffer], timelines: Sequence[Timeline], *, limit: float = SEARCH_LIMIT) -> Plan:
    """Place `buffers` so that no two alive at the same step of the same task share a byte.

    timelines: one per task, from `lifetimes`. Offsets are multiples of 64 bytes. Buffers of different tasks
    may share bytes, since one task runs at a time. The heuristics' best placement is improved by CP-SAT
    within `limit` (0: not at all) unless it already meets the lower bound. One input, one plan.
    Raises ValueError for buffers that are named twice or empty, or timelines that name others.
    """
    _check_input(buffers, timelines)
    problem = Problem.of(buffers, timelines)
    bound = problem.lower_bound()
    offsets = place_greedily(problem)
    if limit > 0 and problem.extent(offsets) > bound:
        offsets = improve(problem, offsets, bound, limit)
    return Plan(offsets, problem.extent(offsets), bound)


def _check_input(buffers: Sequence[Buffer], timelines: Sequence[Timeline]) -> None:
    sizes = {buffer.name: buffer.bytes for buffer in buffers}
    if len(sizes) != len(buffers):
        raise ValueError("every buffer must have a name of its own")
    empty = [name for name, size in sizes.items() if size < 1]
    if empty:
        raise ValueError(f"buffer {empty[0]} must have at least 1 byte, not {sizes[empty[0]]}")
    unknown = [name for timeline in timelines for name in timeline if name not in sizes]
    if unknown:
        raise ValueError(f"timelines must name planned buffers only, not {unknown[0]}")
