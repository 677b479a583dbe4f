"""The steps that several tasks share at their beginning: made once, run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgemtl.lowering.ir import OUTPUT, Step, View, space_of

Steps = tuple[Step, ...]


def common_prefix(tasks: Sequence[Steps]) -> int:
    """How many leading steps are the same work on the same buffers in every task; 0 for one task alone.

    A step that writes a task's output is never shared: each task has its own. Nor is a step that writes
    only a part of a buffer, if a step after the prefix writes the rest.
    """
    if len(tasks) < 2:
        return 0
    shared = 0
    for steps in zip(*tasks, strict=False):
        if any(step != steps[0] for step in steps) or OUTPUT in _written(steps[:1]):
            break
        shared += 1
    while (begun := _first_half_written(tasks, shared)) < shared:
        shared = begun
    return shared


def _first_half_written(tasks: Sequence[Steps], shared: int) -> int:
    """The first of the shared steps that writes a buffer a later step of some task writes too."""
    later = set().union(*(_written(steps[shared:]) for steps in tasks))
    return next((i for i in range(shared) if _written(tasks[0][i : i + 1]) & later), shared)


def _written(steps: Sequence[Step]) -> set[str]:
    return {view.buffer for step in steps for view in step.outputs}


def separate(tasks: Sequence[Steps], names: Sequence[str], prefix: int) -> tuple[Steps, ...]:
    """The tasks' steps with buffers first written behind the prefix named after their task."""
    return tuple(_separate(steps, name, prefix) for steps, name in zip(tasks, names, strict=True))


def _separate(steps: Steps, name: str, prefix: int) -> Steps:
    shared = {buffer for step in steps[:prefix] for buffer in step.buffers}

    def rename(view: View) -> View:
        return (
            view
            if view.buffer in shared or space_of(view.buffer) != "arena"
            else replace(view, buffer=f"{name}.{view.buffer}")
        )

    behind = (
        replace(step, inputs=tuple(map(rename, step.inputs)), outputs=tuple(map(rename, step.outputs)))
        for step in steps[prefix:]
    )
    return (*steps[:prefix], *behind)
