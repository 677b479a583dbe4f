"""From what each step touches to how long each buffer lives, task by task."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.schedule.model import Lifetime, Slot


def lifetimes(tasks: Sequence[Sequence[Slot]], common_prefix: int) -> tuple[dict[str, Lifetime], ...]:
    """Each task's timeline: the lifetime of every buffer its steps touch.

    tasks: each task's steps in the order they run, the first `common_prefix` of them the same in all. The
    buffers that cross the end of the prefix live to the end of every task, whether that task reads them or
    not: another task may run next, and starts behind the prefix.
    """
    crossing = boundary(tasks, common_prefix)
    return tuple(_timeline(steps, crossing) for steps in tasks)


def boundary(tasks: Sequence[Sequence[Slot]], common_prefix: int) -> frozenset[str]:
    """Buffers the prefix touches and a step behind it, in any task, touches again."""
    before = {name for steps in tasks for step in steps[:common_prefix] for name in step.touches}
    after = {name for steps in tasks for step in steps[common_prefix:] for name in step.touches}
    return frozenset(before & after)


def _timeline(steps: Sequence[Slot], crossing: frozenset[str]) -> dict[str, Lifetime]:
    spans: dict[str, Lifetime] = {}
    for index, step in enumerate(steps):
        for name in sorted(step.touches):
            first = spans[name].first if name in spans else index
            spans[name] = Lifetime(first, len(steps) - 1 if name in crossing else index)
    return spans
