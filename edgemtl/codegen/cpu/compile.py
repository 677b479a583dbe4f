"""The table of contents of CPU code generation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgemtl.bundle import Layer, Output, TaskProgram
from edgemtl.bundle.inputs import input_layout
from edgemtl.codegen.cpu.assemble import Assembler
from edgemtl.codegen.cpu.binding import Bound, BoundStep
from edgemtl.codegen.cpu.memory import ProgramLayout, fit, fit_integers
from edgemtl.codegen.cpu.program import CpuProgram, CpuTask
from edgemtl.errors import UsageError
from edgemtl.graph import dtype_of, shape_of
from edgemtl.lowering.ir import INPUT, PREPARED, Lowered
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget
from edgemtl.quantize import IntegerTask
from edgemtl.tvm_bridge.build import EntryFunction, KernelCall, build_library


def compile_cpu(
    tasks: tuple[TaskModel, ...],
    target: CpuTarget,
    *,
    memory_budget: int | None,
    integers: Mapping[str, IntegerTask] | None = None,
) -> CpuProgram:
    """Compile tasks into one program that allocates at most ``memory_budget`` bytes (None: as much as is
    fastest), in float32, or in ``integers`` where they are given.

    The same input gives the same bytes. Raises UnsupportedError for a node nothing can run, BudgetError
    where the budget cannot hold, UsageError without tasks.
    """
    layout = plan_cpu(tasks, target, memory_budget=memory_budget, integers=integers)
    inputs, inputs_bytes = input_layout(tasks[0].inputs)
    in_space = {f"{INPUT}{name}": offset for name, offset in inputs.items()}
    assembler = Assembler(target, {**layout.plan.offsets, **layout.prepared, **in_space})
    runs = [_calls(assembler, steps) for steps in layout.tasks]
    prepares = [_calls(assembler, steps) for steps in layout.prepare]
    programs = tuple(
        _compiled_task(_symbol(task.task.name, i), task, layout.tasks[i], layout.prepare[i])
        for i, task in enumerate(tasks)
    )
    sizes = _space_bytes(tasks, layout, assembler, inputs_bytes)
    entries = _entries([task.program for task in programs], runs, prepares, sizes)
    return CpuProgram(
        target=target,
        library=build_library(entries, target),
        weights=tuple(assembler.weights.tensors),
        tasks=programs,
        plan=layout.plan,
        arena_bytes=layout.plan.arena_bytes,
        prepared_bytes=layout.prepared_bytes,
        weights_bytes=assembler.weights.size,
        inputs=inputs,
        inputs_bytes=inputs_bytes,
        common_prefix_steps=layout.prefix,
        precision="fp32" if integers is None else "int8",
        notes=_notes(layout),
    )


def plan_cpu(
    tasks: tuple[TaskModel, ...],
    target: CpuTarget,
    *,
    memory_budget: int | None,
    integers: Mapping[str, IntegerTask] | None = None,
) -> ProgramLayout:
    """Every decision of `compile_cpu` before code is generated: steps, kernels and their places in memory.

    A check ends here: all that is refused for the model's or the options' sake is refused here, as by `compile_cpu`.
    """
    if not tasks:
        raise UsageError("a program must have at least one task, not none; name one with --task")
    if integers is None:
        return fit(tasks, target, memory_budget)
    lowered = [Lowered(task.task.name, integers[task.task.name].steps) for task in tasks]
    return fit_integers(lowered, target, memory_budget)


def _calls(assembler: Assembler, steps: Bound) -> tuple[KernelCall, ...]:
    return tuple(assembler.call(bound) for bound in steps)


def _symbol(task: str, index: int) -> str:
    """A task's name as part of a linker's symbol: as it is where it is an identifier, else with its number in front."""
    plain = task.isidentifier() and task.isascii()
    return task if plain else f"{index}_{re.sub('[^A-Za-z0-9]', '_', task)}"


def _compiled_task(symbol: str, task: TaskModel, steps: Bound, prepare: Bound) -> CpuTask:
    output = task.output
    program = TaskProgram(
        entry=f"run_{symbol}",
        prepare=f"prepare_{symbol}" if prepare else None,
        steps=len(steps),
        output=Output(shape_of(output), dtype_of(output)),
        layers=tuple(_layer(i, bound) for i, bound in enumerate(steps)),
    )
    run, before = (tuple(bound.step for bound in bounds) for bounds in (steps, prepare))
    return CpuTask(task.task.name, run, before, program)


def _layer(index: int, bound: BoundStep) -> Layer:
    step = bound.step
    touched = sum(view.nbytes for view in (*step.inputs, *step.outputs))
    constant_bytes = sum(constant.array.nbytes for constant in step.constants)
    return Layer(index, bound.kernel.symbol, step.origin, step.operator.macs, touched + constant_bytes)


def _entries(
    programs: Sequence[TaskProgram],
    runs: Sequence[tuple[KernelCall, ...]],
    prepares: Sequence[tuple[KernelCall, ...]],
    sizes: Sequence[Mapping[str, int]],
) -> list[EntryFunction]:
    entries = []
    for program, run, prepare, spaces in zip(programs, runs, prepares, sizes, strict=True):
        entries.append(EntryFunction(program.entry, run, spaces))
        if program.prepare is not None:
            entries.append(EntryFunction(program.prepare, prepare, spaces))
    return entries


def _space_bytes(
    tasks: Sequence[TaskModel], layout: ProgramLayout, assembler: Assembler, inputs_bytes: int
) -> list[dict[str, int]]:
    common = {
        "arena": layout.plan.arena_bytes,
        "prepared": layout.prepared_bytes,
        "weights": assembler.weights.size,
        "inputs": inputs_bytes,
    }
    return [common | {"output": _bytes(task.output)} for task in tasks]


def _bytes(value: ir.Value) -> int:
    return math.prod(shape_of(value)) * np.dtype(dtype_of(value)).itemsize


def _notes(layout: ProgramLayout) -> tuple[str, ...]:
    """What was decided for the user: how good the plan is, which convolutions gave up speed for memory."""
    gap = f"{layout.plan.gap:.1%} above the lower bound for this order of steps"
    arena = f"arena of {layout.plan.arena_bytes} bytes, {gap}"
    return (
        arena,
        *(f"{_weight_name(name)}: without Winograd's algorithm, to fit the memory budget" for name in layout.slowed),
    )


def _weight_name(prepared: str) -> str:
    """The weight a prepared buffer is made from: its name is "prepared/<weight>.<digest>"."""
    return prepared.removeprefix(PREPARED).rpartition(".")[0]
