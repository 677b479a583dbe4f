"""The steps of the host CPU as a bundle describes them: operators with their operands and constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.codegen.fpga.host import HostProgram, symbol
from edgemtl.codegen.fpga.program import BoardProgram
from edgemtl.host import NATIVE, SEGMENT, HostStep, HostView
from edgemtl.lowering.ir import Step, View
from edgemtl.tvm_bridge.kernel import FixedKernel


def describe_steps(program: BoardProgram, host: HostProgram) -> tuple[dict[str, tuple[HostStep, ...]], WeightStore]:
    """The steps of every task in the order of ``host``, and their constants, each content once."""
    constants = WeightStore()
    segments = {task.task: {symbol(task, i): i for i in range(len(task.segments))} for task in program.tasks}
    steps = {
        task.task: tuple(_describe(step, segments[task.task], constants) for step in task.steps)
        for task in host.cpu.tasks
    }
    return steps, constants


def _describe(step: Step, segments: Mapping[str, int], constants: WeightStore) -> HostStep:
    inputs, outputs = _views(step.inputs), _views(step.outputs)
    if isinstance(step.operator, FixedKernel):
        segment = segments.get(step.operator.kernel.symbol)
        return HostStep(NATIVE if segment is None else SEGMENT, None, segment, inputs, outputs, ())
    offsets = [constants.add(constant.name, np.asarray(constant.array)) for constant in step.constants]
    numbers = {tensor.offset: number for number, tensor in enumerate(constants.tensors)}
    places = tuple(numbers[offset] for offset in offsets)
    return HostStep(type(step.operator).__name__, step.operator, None, inputs, outputs, places)


def _views(views: Sequence[View]) -> tuple[HostView, ...]:
    return tuple(HostView(view.buffer, view.shape, view.strides, view.offset, view.dtype) for view in views)
