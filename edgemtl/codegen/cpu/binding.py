"""Steps with their kernels: what each needs in memory while it runs, for the planner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgemtl import schedule
from edgemtl.codegen.cpu.families import build_kernel
from edgemtl.lowering.ir import Step, View, space_of
from edgemtl.processor import CpuTarget
from edgemtl.schedule import Buffer
from edgemtl.tvm_bridge.kernel import Kernel, Operand

Bound = tuple["BoundStep", ...]


@dataclass(frozen=True)
class BoundStep:
    """A step and its kernel; ``workspaces`` are the buffers of its scratch operands, in order."""

    step: Step
    kernel: Kernel
    workspaces: tuple[Buffer, ...]

    def operands(self, *roles: str) -> tuple[Operand, ...]:
        """The kernel's operands of these roles, in order."""
        return tuple(operand for operand in self.kernel.operands if operand.role in roles)

    def for_planner(self) -> schedule.Slot:
        """What it reads, writes and scratches in the arena."""
        reads, writes = (_in_arena(views) for views in (self.step.inputs, self.step.outputs))
        return schedule.Slot(reads, writes, tuple(buffer.name for buffer in self.workspaces))


def _in_arena(views: Iterable[View]) -> tuple[str, ...]:
    return tuple(view.buffer for view in views if space_of(view.buffer) == "arena")


def bind(steps: Sequence[Step], target: CpuTarget, task: str, prefix: int) -> Bound:
    """Each step with its kernel; scratch buffers of shared steps have the same name in every task."""
    return tuple(_bind(step, i, target, "" if i < prefix else f"{task}.") for i, step in enumerate(steps))


def _bind(step: Step, index: int, target: CpuTarget, owner: str) -> BoundStep:
    kernel = build_kernel(step.operator, target)
    schedule.check_accesses(_accesses(step, kernel))
    scratch = [operand for operand in kernel.operands if operand.role == "workspace"]
    buffers = tuple(Buffer(f"{owner}step{index}.{operand.name}", operand.bytes) for operand in scratch)
    return BoundStep(step, kernel, buffers)


def _accesses(step: Step, kernel: Kernel) -> Iterator[schedule.Access]:
    """Each operand of the kernel that lies in a buffer, with the bytes the step's view of it has."""
    # A segment of the accelerator stands for a kernel without operands; its stream has a check of its own.
    for operand in (operand for operand in kernel.operands if operand.role in ("input", "output")):
        view = step[operand.name]
        yield schedule.Access(kernel.symbol, operand.name, operand.bytes, view.extent_bytes - view.offset_bytes)


def buffers_of(tasks: Iterable[Bound]) -> list[Buffer]:
    """Every arena buffer of the tasks once, as large as the furthest element any step touches."""
    sizes: dict[str, int] = {}
    for bound in (bound for steps in tasks for bound in steps):
        for view in (*bound.step.inputs, *bound.step.outputs):
            if space_of(view.buffer) == "arena":
                sizes[view.buffer] = max(sizes.get(view.buffer, 0), view.extent_bytes)
        sizes.update((buffer.name, buffer.bytes) for buffer in bound.workspaces)
    return [Buffer(name, size) for name, size in sizes.items()]
