"""A second opinion on every plan. It shares no code with the planner, so that a mistake must be made twice.

Liveness is found here by walking each task backwards from its end, step by step, as compilers do for
registers; the bytes alive at each step are then laid out and neighbours compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgemtl.errors import EdgemtlError
from edgemtl.schedule.model import Buffer, Plan, Slot

CACHE_LINE_BYTES = 64


class PlanError(EdgemtlError):
    """A plan that would corrupt data: a defect of the compiler, never of the model."""


@dataclass(frozen=True)
class Access:
    """What a kernel may touch through one operand, and the bytes that are there from the operand's address on."""

    kernel: str
    operand: str
    bytes: int
    room: int


def check_accesses(accesses: Iterable[Access]) -> None:
    """Raise PlanError where a kernel may touch more than the buffer or tensor that it is given."""
    for access in accesses:
        if access.bytes > access.room:
            what = f"operand {access.operand} of {access.kernel} must stay in the {access.room} bytes it is given"
            raise PlanError(f"{what}, not touch {access.bytes}")


def check(plan: Plan, buffers: Sequence[Buffer], tasks: Sequence[Sequence[Slot]], common_prefix: int) -> None:
    """Raise PlanError unless `plan` is safe for these steps.

    Safe: every buffer a step touches has an aligned place inside the arena; nothing is read before it is
    written; no two buffers alive at one step of one task share a byte; the first `common_prefix` steps are
    the same in every task; and what crosses their end stays whole through every task, since any other task
    may run next and starts there.
    """
    sizes = {buffer.name: buffer.bytes for buffer in buffers}
    _check_prefix(tasks, common_prefix)
    _check_places(plan, sizes, tasks)
    for task, steps in enumerate(tasks):
        _check_written_first(task, steps)
    crossing = _crossing(tasks, common_prefix)
    _check_crossing(tasks, common_prefix, crossing)
    for task, steps in enumerate(tasks):
        for index, alive in reversed([*_alive_backwards(steps, crossing)]):
            _check_apart(plan.offsets, sizes, alive, f"task {task}, step {index}")


def _check_prefix(tasks: Sequence[Sequence[Slot]], common_prefix: int) -> None:
    for task, steps in enumerate(tasks):
        for index in range(common_prefix):
            if index >= len(steps) or steps[index] != tasks[0][index]:
                raise PlanError(f"step {index} of the common prefix must be in task {task} what it is in task 0")


def _check_places(plan: Plan, sizes: Mapping[str, int], tasks: Sequence[Sequence[Slot]]) -> None:
    for name in sorted({name for steps in tasks for step in steps for name in _touched(step)}):
        if name not in plan.offsets or name not in sizes:
            raise PlanError(f"buffer {name} must have a size and an offset: a step touches it")
        offset, end = plan.offsets[name], plan.offsets[name] + sizes[name]
        if offset % CACHE_LINE_BYTES:
            raise PlanError(f"buffer {name} must start at a multiple of {CACHE_LINE_BYTES}, not at {offset}")
        if offset < 0 or end > plan.arena_bytes:
            raise PlanError(
                f"buffer {name} must lie in the arena of {plan.arena_bytes} bytes, not at {offset} to {end}"
            )


def _check_written_first(task: int, steps: Sequence[Slot]) -> None:
    written: set[str] = set()
    for index, step in enumerate(steps):
        missing = set(step.reads) - written
        if missing:
            raise PlanError(f"buffer {min(missing)} must be written before step {index} of task {task} reads it")
        written.update(step.writes)


def _touched(step: Slot) -> set[str]:
    return {*step.reads, *step.writes, *step.workspaces}


def _crossing(tasks: Sequence[Sequence[Slot]], common_prefix: int) -> set[str]:
    """What the prefix leaves in memory for the steps behind it."""
    left: set[str] = set()
    for step in tasks[0][:common_prefix] if tasks else ():
        left.update(step.writes)
    read_behind: set[str] = set()
    for steps in tasks:
        for step in steps[common_prefix:]:
            read_behind.update(step.reads)
    return left & read_behind


def _check_crossing(tasks: Sequence[Sequence[Slot]], common_prefix: int, crossing: set[str]) -> None:
    for task, steps in enumerate(tasks):
        for index, step in enumerate(steps[common_prefix:], common_prefix):
            spoiled = crossing.intersection((*step.writes, *step.workspaces))
            if spoiled:
                where = f"step {index} of task {task}"
                raise PlanError(f"buffer {min(spoiled)} must stay as the common prefix left it; {where} writes it")


def _alive_backwards(steps: Sequence[Slot], crossing: set[str]) -> Iterator[tuple[int, set[str]]]:
    """(step, buffers whose bytes must be their own while it runs), from the last step to the first."""
    first_write: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name in step.writes:
            first_write.setdefault(name, index)
    live = set(crossing)
    for index in range(len(steps) - 1, -1, -1):
        live.update(steps[index].reads)
        # A buffer written in parts is wanted from the first part on.
        live.update(name for name in steps[index].writes if first_write[name] < index)
        yield index, live | _touched(steps[index])
        live.difference_update(name for name in steps[index].writes if first_write[name] == index)


def _check_apart(offsets: Mapping[str, int], sizes: Mapping[str, int], alive: set[str], where: str) -> None:
    laid_out = sorted((offsets[name], offsets[name] + sizes[name], name) for name in alive)
    for (_, end, name), (begin, _, other) in pairwise(laid_out):
        if begin < end:
            early = f"{other} starts {end - begin} bytes early"
            raise PlanError(f"buffers {name} and {other} must not overlap at {where}: {early}")
