"""The program of the host CPU: the steps that stay there, compiled, and where rows are handed over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl.codegen.cpu import CpuProgram, compile_cpu
from edgemtl.codegen.cpu.program import TaskProgram
from edgemtl.codegen.fpga.program import FpgaProgram, FpgaTask, SegmentCall
from edgemtl.codegen.fpga.segment import Segment
from edgemtl.lowering.ir import Step, View, dense
from edgemtl.partition import TaskModel
from edgemtl.processor import HOSTS, resolve
from edgemtl.quantize import IntegerTask
from edgemtl.tvm_bridge.kernel import FixedKernel
from edgemtl.tvm_bridge.kernels import elsewhere


@dataclass(frozen=True)
class Handover:
    """The step of a host's program in which a segment runs, and where its rows lie in the arena, in bytes."""

    step: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class HostProgram:
    """One host. handovers: by task, one for each of its segments."""

    name: str
    cpu: CpuProgram
    handovers: Mapping[str, tuple[Handover, ...]]


def compile_hosts(
    tasks: tuple[TaskModel, ...], program: FpgaProgram, integers: Mapping[str, IntegerTask], threads: int
) -> tuple[HostProgram, ...]:
    """The steps of ``program`` that stay on the CPU, for every host.

    Raises UnsupportedError where a host's linker is not installed.
    """
    steps = {task.task: _steps(task) for task in program.tasks}
    left = {name: replace(integers[name], steps=host_steps) for name, host_steps in steps.items()}
    return tuple(_compile(name, tasks, program, left, threads) for name in HOSTS)


def _compile(
    name: str, tasks: tuple[TaskModel, ...], program: FpgaProgram, left: Mapping[str, IntegerTask], threads: int
) -> HostProgram:
    cpu = compile_cpu(tasks, resolve(HOSTS[name], threads), memory_budget=None, integers=left)
    symbols = {task.task: [symbol(task, index) for index in range(len(task.segments))] for task in program.tasks}
    handovers = {task.task: _handovers(task, symbols[task.task], cpu.plan.offsets) for task in cpu.tasks}
    return HostProgram(name, cpu, handovers)


def _steps(task: FpgaTask) -> tuple[Step, ...]:
    return tuple(_as_kernel(task, step) if isinstance(step.operator, SegmentCall) else step for step in task.steps)


def _as_kernel(task: FpgaTask, step: Step) -> Step:
    assert isinstance(step.operator, SegmentCall)
    index = step.operator.index
    macs = sum(layer.macs for layer in task.segments[index].layers)
    kernel = elsewhere.build(symbol(task, index))
    return replace(step, operator=FixedKernel(kernel, step.operator.signature, macs))


def symbol(task: FpgaTask, index: int) -> str:
    """A segment's symbol in a host's program: equal only for equal segments, so that tasks can share their prefix."""
    return f"segment{index}_{_digest(task.segments[index])}"


def _digest(segment: Segment) -> str:
    return hashlib.sha256(segment.stream + repr((segment.inputs, segment.outputs)).encode()).hexdigest()[:16]


def _handovers(task: TaskProgram, symbols: Sequence[str], offsets: Mapping[str, int]) -> tuple[Handover, ...]:
    at = {layer.kernel: layer.step for layer in task.layers}
    return tuple(_handover(at[name], task.steps[at[name]], offsets) for name in symbols)


def _handover(index: int, step: Step, offsets: Mapping[str, int]) -> Handover:
    return Handover(index, _arena_offsets(step.inputs, offsets), _arena_offsets(step.outputs, offsets))


def _arena_offsets(views: Sequence[View], offsets: Mapping[str, int]) -> tuple[int, ...]:
    for view in views:
        assert dense(view.buffer, view.shape).strides == view.strides, f"the rows of {view.buffer} must have no gaps"
    return tuple(offsets[view.buffer] + view.offset_bytes for view in views)
