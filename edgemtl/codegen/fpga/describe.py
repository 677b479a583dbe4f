"""The steps of the host CPU as a bundle describes them: operators with their operands and constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.codegen.fpga.host import HostProgram, symbol
from edgemtl.codegen.fpga.program import FpgaProgram
from edgemtl.host import NATIVE, SEGMENT
from edgemtl.lowering.ir import Step
from edgemtl.tvm_bridge.kernel import FixedKernel


def describe_steps(program: FpgaProgram, host: HostProgram) -> tuple[dict[str, list[Mapping[str, Any]]], WeightStore]:
    """The steps of every task in the order of ``host``, and their constants, each content once."""
    constants = WeightStore()
    segments = {task.task: {symbol(task, i): i for i in range(len(task.segments))} for task in program.tasks}
    steps = {
        task.task: [_describe(step, segments[task.task], constants) for step in task.steps] for task in host.cpu.tasks
    }
    return steps, constants


def _describe(step: Step, segments: Mapping[str, int], constants: WeightStore) -> Mapping[str, Any]:
    operands = {"inputs": [asdict(view) for view in step.inputs], "outputs": [asdict(view) for view in step.outputs]}
    if isinstance(step.operator, FixedKernel):
        segment = segments.get(step.operator.kernel.symbol)
        kind = NATIVE if segment is None else SEGMENT
        return {"operator": kind, "sizes": None, "segment": segment, "constants": [], **operands}
    offsets = [constants.add(constant.name, np.asarray(constant.array)) for constant in step.constants]
    numbers = {tensor.offset: number for number, tensor in enumerate(constants.tensors)}
    sizes = asdict(step.operator)  # type: ignore[call-overload]  # operators are dataclasses
    entry = {"operator": type(step.operator).__name__, "sizes": sizes, "segment": None}
    return entry | {"constants": [numbers[offset] for offset in offsets]} | operands
