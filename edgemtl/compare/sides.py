"""The five things that can be compared, each made from one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgemtl.codegen import cpu
from edgemtl.compare.comparison import Pair
from edgemtl.compare.compiled import CompiledMachine
from edgemtl.compare.numeric import NumericMachine
from edgemtl.compare.onnx_side import OnnxSide
from edgemtl.compare.reading import Side
from edgemtl.compare.stepping import SteppedSide
from edgemtl.compare.stops import plan_stops
from edgemtl.compare.watched import TorchSide, WatchModules
from edgemtl.lowering.ir import Step, View
from edgemtl.lowering.task import group_task, lower_task
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget
from edgemtl.quantize import IntegerTask
from edgemtl.quantize.quantised_model import Quantised
from edgemtl.quantize.tensors import Tensor


def make_pair(
    task: TaskModel, target: CpuTarget, names: tuple[str, str], quantised: Quantised | None, watch: WatchModules | None
) -> Pair:
    """Both sides; raises what `make_side` raises."""
    integers = quantised.integers[task.task.name] if quantised is not None else None
    a, b = (make_side(name, task, target, integers, watch) for name in names)
    return Pair(names, (a, b))


def make_side(
    name: str, task: TaskModel, target: CpuTarget, integers: IntegerTask | None, watch: WatchModules | None
) -> Side:
    """The side of this name: torch, onnx, fp32, int8 or functional.

    ``integers`` are needed by int8 and functional, ``watch`` by torch. Raises UnsupportedError where the task or this
    machine cannot be used for it.
    """
    if name == "onnx":
        return OnnxSide(task)
    if name == "torch":
        assert watch is not None, "torch needs a model"
        return TorchSide(task, watch)
    if name == "fp32":
        return _compiled(task, target, None)
    assert integers is not None, f"{name} needs integers"
    return _compiled(task, target, integers) if name == "int8" else _functional(task, target, integers)


def _functional(task: TaskModel, target: CpuTarget, integers: IntegerTask) -> Side:
    values = lower_task(group_task(task.task.name, task.ir), target, None).values
    machine = NumericMachine(integers.steps)
    return SteppedSide(integers.steps, plan_stops(integers.steps, values), machine, integers.tensors)


def _compiled(task: TaskModel, target: CpuTarget, integers: IntegerTask | None) -> Side:
    name = task.task.name
    forbidden = frozenset[str]() if integers is None else None
    values = lower_task(group_task(name, task.ir), target, forbidden).values
    integers_by_task = None if integers is None else {name: integers}
    program = cpu.compile_cpu((task,), target, memory_budget=None, integers=integers_by_task)
    (compiled,) = program.tasks
    tensors = {} if integers is None else integers.tensors
    stops = plan_stops(compiled.steps, _renamed(values, compiled.steps, name))
    return SteppedSide(compiled.steps, stops, CompiledMachine(program), _owned(tensors, name))


def _renamed(values: Mapping[str, View], steps: Sequence[Step], task: str) -> dict[str, View]:
    """Where values lie in a program, whose buffers may have the name of their task in front."""
    known = {buffer for step in steps for buffer in step.buffers}
    return {
        name: view if view.buffer in known else replace(view, buffer=f"{task}.{view.buffer}")
        for name, view in values.items()
    }


def _owned(tensors: Mapping[str, Tensor], task: str) -> dict[str, Tensor]:
    """The same by both names a buffer may have in a program."""
    return {**tensors, **{f"{task}.{buffer}": tensor for buffer, tensor in tensors.items()}}
