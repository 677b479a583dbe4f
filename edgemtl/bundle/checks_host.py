"""What must hold between the steps of a host CPU, its segments, its constants and its memory; one function per rule."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from edgemtl.bundle.checks_program import fail
from edgemtl.bundle.fpga import FpgaProgram, FpgaTask
from edgemtl.bundle.inputs import InputType, input_bytes
from edgemtl.bundle.segment import Rows
from edgemtl.host import BUFFER_DTYPES, INPUT, OUTPUT, HostStep, HostView
from edgemtl.operators import Conv2d, Operator, Pool, QConv2d, QPool, TensorType
from edgemtl.records import leaves, shorten

PADDED = Conv2d, QConv2d
POOLS = Pool, QPool
NUMBERS = {
    *("zero", "out_zero", "zeros", "low", "mul", "muls", "shift", "offset"),
    *("scale", "out_scale", "score_shift", "epsilon", "threshold"),
}
"""Integers of an operator that are no sizes."""
MOST_PADDING = 64
"""Times the largest operand that an image with its padding may take."""


def check_host_steps(program: FpgaProgram, inputs: Sequence[InputType]) -> None:
    """Raise ConfigError where the steps of a task contradict its segments, its memory or each other."""
    arena = max(host.cpu.arena_bytes for host in program.hosts)
    own = {f"{INPUT}{entry.name}": entry for entry in inputs}
    dtypes: dict[str, str] = {}
    for name, task in program.tasks.items():
        place = f"program.tasks.{name}.host"
        if len(task.host) != task.steps:
            fail(place, f"{task.steps} steps", f"{len(task.host)}")
        for index, step in enumerate(task.host):
            _check_strides(step.inputs, f"{place}[{index}].inputs")
            _check_strides(step.outputs, f"{place}[{index}].outputs")
        _check_segments(program, name, task, place)
        output = BUFFER_DTYPES[task.output.dtype] * prod(task.output.shape)
        sizes = {OUTPUT: output, **{buffer: input_bytes(entry) for buffer, entry in own.items()}}
        types = {OUTPUT: task.output.dtype, **{buffer: entry.dtype for buffer, entry in own.items()}}
        for index, step in enumerate(task.host):
            where = f"{place}[{index}]"
            if any(constant >= len(program.constants) for constant in step.constants):
                fail(f"{where}.constants", f"below {len(program.constants)}, of the program's", list(step.constants))
            for view in (*step.inputs, *step.outputs):
                if view.buffer.startswith(INPUT) and view.buffer not in own:
                    fail(f"{where}: {view.buffer}", f"one of {', '.join(own)}", "another one")
                _check_view(view, sizes.get(view.buffer, arena), dtypes, types.get(view.buffer, view.dtype), where)
            _check_sizes(program, step, where)


def _check_strides(views: Sequence[HostView], place: str) -> None:
    for index, view in enumerate(views):
        if len(view.strides) != len(view.shape):
            fail(f"{place}[{index}].strides", f"{len(view.shape)} steps, one a dimension", shorten(list(view.strides)))


def _check_view(view: HostView, size: int, dtypes: dict[str, str], dtype: str, where: str) -> None:
    if view.extent * BUFFER_DTYPES[view.dtype] > size:
        fail(f"{where}: {view.buffer}", f"inside its {size} bytes", f"{view.extent * BUFFER_DTYPES[view.dtype]} long")
    # Outputs share a name, and may differ in type.
    expected = dtype if view.buffer == OUTPUT else dtypes.setdefault(view.buffer, dtype)
    if expected != view.dtype:
        fail(f"{where}: {view.buffer}", f"{expected} in all steps", view.dtype)


def _check_sizes(program: FpgaProgram, step: HostStep, where: str) -> None:
    """No size of an operator is larger than all it computes with: a bundle cannot ask for more memory than it shows."""
    operands = [view.extent for view in (*step.inputs, *step.outputs)]
    most = max([1, *operands, *(prod(program.constants[index].shape) for index in step.constants)])
    if step.sizes is None:
        return
    for name, value in leaves(step.sizes):
        if name.split(".")[-1] not in NUMBERS and any(not 0 <= size <= most for size in _whole(value)):
            fail(f"{where}.sizes.{name}", f"from 0 to {most}, the largest of its operands", value)
    check_padding(step.sizes, most, f"{where}.sizes")
    if not step.sizes.strided:
        _check_operands(program, step, step.sizes, where)


def check_padding(operator: Operator, most: int, where: str) -> None:
    """Raise ConfigError where an image with its padding is much larger than ``most``, the largest operand."""
    if isinstance(operator, PADDED):
        reach = [operator.dilation[axis] * (operator.kernel[axis] - 1) for axis in (0, 1, 0, 1)]
        if any(pad > limit for pad, limit in zip(operator.pad, reach, strict=True)):
            fail(f"{where}.pad", f"at most {reach}, what the kernel reaches", list(operator.pad))
        (top, left, bottom, right), size, channels = operator.pad, (operator.height, operator.width), operator.cin
    elif isinstance(operator, POOLS):
        windows = operator.windows
        (top, left), (bottom, right) = windows.pad, windows.beyond
        size, channels = (windows.height, windows.width), operator.channels
    else:
        return
    padded = (size[0] + top + bottom) * (size[1] + left + right) * channels
    if padded > (limit := MOST_PADDING * most):
        fail(where, f"those of an image that has at most {limit} values with its padding", padded)


def _check_operands(program: FpgaProgram, step: HostStep, operator: Operator, where: str) -> None:
    inputs, outputs = ([view.type for view in views] for views in (step.inputs, step.outputs))
    constants = [TensorType(entry.shape, entry.dtype) for entry in (program.constants[i] for i in step.constants)]
    try:
        misfit = operator.signature.find_misfit(inputs, outputs, constants)
    except ArithmeticError as error:
        fail(f"{where}.sizes", f"those of a {step.operator}", str(error))
    if misfit is not None:
        fail(f"{where}: {misfit.what}", misfit.expected, misfit.actual)


def _whole(value: Any) -> Sequence[int]:
    values = value if isinstance(value, tuple) else (value,)
    return [item for item in values if type(item) is int]


def _check_segments(program: FpgaProgram, name: str, task: FpgaTask, place: str) -> None:
    steps = {step.segment: index for index, step in enumerate(task.host) if step.segment is not None}
    for host in program.hosts:
        expected = {number: handover.step for number, handover in enumerate(host.handovers[name])}
        if steps != expected or len(steps) != sum(step.segment is not None for step in task.host):
            fail(place, f"segments at the steps {list(expected.values())} of {host.name}", list(steps.values()))
    for number, index in steps.items():
        segment, step = task.segments[number], task.host[index]
        _check_rows(step.inputs, segment.inputs, f"{place}[{index}].inputs")
        _check_rows(step.outputs, segment.outputs, f"{place}[{index}].outputs")


def _check_rows(views: Sequence[HostView], rows: Sequence[Rows], place: str) -> None:
    """Rows are handed over as they lie: dense, and as many as the segment says."""
    given = [(prod(view.shape), view.dtype) for view in views if view.is_dense]
    expected = [(part.rows * part.width, part.dtype) for part in rows]
    if given != expected:
        fail(place, f"dense values {expected}, those of the segment", given)
