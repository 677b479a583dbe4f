"""Where everything lies, and how a program is made to fit its memory budget.

The budget bounds what the runtime allocates: the arena (kernel workspaces are in it) and the prepared
buffers (Winograd weights). A program starts with every convolution in the algorithm that is fastest; while
the budget does not hold, convolutions lose Winograd's algorithm one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgemtl import schedule
from edgemtl.codegen.cpu.binding import Bound, BoundStep, bind, buffers_of
from edgemtl.codegen.cpu.coded import with_codes
from edgemtl.codegen.cpu.groups import with_groups
from edgemtl.codegen.cpu.prefix import common_prefix, separate
from edgemtl.codegen.cpu.winograd import with_winograd
from edgemtl.errors import BudgetError
from edgemtl.lowering.ir import Lowered, Step
from edgemtl.lowering.task import Grouped, group_task, lower_task
from edgemtl.lowering.verify import verify
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget
from edgemtl.schedule import Buffer, Plan


@dataclass(frozen=True)
class ProgramLayout:
    """Every task's steps with kernels, and every buffer in its place; ``prepared`` are offsets in bytes."""

    tasks: tuple[Bound, ...]
    prepare: tuple[Bound, ...]
    prefix: int
    buffers: tuple[Buffer, ...]
    plan: Plan
    prepared: Mapping[str, int]
    prepared_bytes: int
    slowed: tuple[str, ...]

    @property
    def required_bytes(self) -> int:
        """What the runtime allocates."""
        return self.plan.arena_bytes + self.prepared_bytes


HINT = "allow more, compile fewer tasks (--task) or fewer threads (--threads)"


Lower = Callable[[frozenset[str]], Sequence[Lowered]]
"""The tasks' steps without some prepared buffers, by name."""


def fit_integers(tasks: Sequence[Lowered], target: CpuTarget, budget: int | None) -> ProgramLayout:
    """`fit` for integer steps, whose bits do not depend on the algorithm."""
    in_groups = [with_groups(task) for task in tasks]
    return _fit(lambda slowed: [with_codes(with_winograd(task, target, slowed)) for task in in_groups], target, budget)


def fit(tasks: Sequence[TaskModel], target: CpuTarget, budget: int | None) -> ProgramLayout:
    """The fastest layout tried that fits ``budget`` bytes; raises BudgetError with the least that was
    achieved.

    Convolutions give up Winograd's algorithm one at a time. While the arena alone is too large it is the
    one with the largest workspaces; otherwise the one with most prepared bytes per millisecond it saves,
    and since the time saved grows with the multiply-accumulates, that is most prepared bytes per
    multiply-accumulate.
    """
    return _fit(_lowering([group_task(task.task.name, task.ir) for task in tasks], target), target, budget)


def _fit(lower: Lower, target: CpuTarget, budget: int | None) -> ProgramLayout:
    layout = _lay_out_steps(lower(frozenset()), target, (), budget)
    least = layout.required_bytes
    while budget is not None and layout.required_bytes > budget:
        victim = _least_useful_winograd(layout, budget)
        if victim is None:
            raise BudgetError("the smallest program found", least, budget, HINT)
        slowed = (*layout.slowed, victim)
        layout = _lay_out_steps(lower(frozenset(slowed)), target, slowed, budget)
        least = min(least, layout.required_bytes)
    return layout


def lay_out(
    tasks: Sequence[Grouped], target: CpuTarget, slowed: tuple[str, ...] = (), budget: int | None = None
) -> ProgramLayout:
    """Lower, bind and plan all tasks; the prepared buffers named in ``slowed`` are done without."""
    return _lay_out_steps(_lowering(tasks, target)(frozenset(slowed)), target, slowed, budget)


def _lowering(tasks: Sequence[Grouped], target: CpuTarget) -> Lower:
    return lambda slowed: [lower_task(task, target, slowed) for task in tasks]


def _lay_out_steps(
    lowered: Sequence[Lowered], target: CpuTarget, slowed: tuple[str, ...], budget: int | None
) -> ProgramLayout:
    names = [task.task for task in lowered]
    prefix = common_prefix([task.steps for task in lowered])
    steps = separate([task.steps for task in lowered], names, prefix)
    bound = tuple(bind(s, target, name, prefix) for s, name in zip(steps, names, strict=True))
    prepare = tuple(bind(task.prepare, target, f"prepare {task.task}", 0) for task in lowered)
    buffers = tuple(buffers_of(bound))
    bound = _reorder(bound, buffers, prefix)
    for task in bound:
        verify("reordering", [step.step for step in task])
    prepared, prepared_bytes = _stack(step for task in lowered for step in task.prepare)
    plan = _plan(bound, prefix, buffers, None if budget is None else budget - prepared_bytes)
    return ProgramLayout(bound, prepare, prefix, buffers, plan, prepared, prepared_bytes, slowed)


def _reorder(tasks: tuple[Bound, ...], buffers: Sequence[Buffer], prefix: int) -> tuple[Bound, ...]:
    """Each task's steps in the order that keeps the fewest bytes alive."""
    steps = [[bound.for_planner() for bound in task] for task in tasks]
    orders = schedule.reorder_tasks(steps, {buffer.name: buffer.bytes for buffer in buffers}, prefix)
    return tuple(tuple(task[i] for i in order) for task, order in zip(tasks, orders, strict=True))


def _plan(tasks: Sequence[Bound], prefix: int, buffers: Sequence[Buffer], available: int | None) -> Plan:
    """Offsets, verified by the checker. Where even the lower bound is too large no time is spent on a better
    plan.
    """
    steps = [[bound.for_planner() for bound in task] for task in tasks]
    timelines = schedule.lifetimes(steps, prefix)
    plan = schedule.plan(buffers, timelines, limit=0)
    if available is None or plan.lower_bound_bytes <= available:
        plan = schedule.plan(buffers, timelines)
    schedule.check(plan, buffers, steps, prefix)
    return plan


def _stack(steps: Iterable[Step]) -> tuple[dict[str, int], int]:
    """Places of the prepared buffers one behind the other, and their sum: all tasks' are kept, so switching
    is free.
    """
    offsets: dict[str, int] = {}
    size = 0
    for step in steps:
        for view in step.outputs:
            if view.buffer not in offsets:
                offsets[view.buffer] = size
                size += -(-view.nbytes // schedule.ALIGNMENT) * schedule.ALIGNMENT
    return offsets, size


def _least_useful_winograd(layout: ProgramLayout, budget: int) -> str | None:
    """The prepared buffer whose convolution should give it up; None where none is left."""
    arena_alone_fits = layout.plan.arena_bytes <= budget
    scores = {
        (view.nbytes / bound.step.operator.macs if arena_alone_fits else _scratch_bytes(bound), view.buffer)
        for task in layout.tasks
        for bound in task
        for view in bound.step.inputs
        if view.buffer in layout.prepared
    }
    return max(scores)[1] if scores else None


def _scratch_bytes(bound: BoundStep) -> int:
    return sum(buffer.bytes for buffer in bound.workspaces)
