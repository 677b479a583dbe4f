"""A compiled program of a board as a bundle describes it, and its members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemtl.bundle import (
    HOST_CONSTANTS,
    WEIGHTS,
    ChipBuffer,
    FpgaProgram,
    FpgaTask,
    Host,
    Region,
    Rows,
    Segment,
    TaskProgram,
)
from edgemtl.codegen import cpu
from edgemtl.codegen.fpga.describe import describe_steps
from edgemtl.codegen.fpga.host import HostProgram
from edgemtl.codegen.fpga.place import Placement
from edgemtl.codegen.fpga.program import BoardProgram, BoardTask
from edgemtl.codegen.fpga.segment import BoardSegment
from edgemtl.codegen.fpga.site import Stored
from edgemtl.host import HostStep
from edgemtl.hw.encoding import engine_digest
from edgemtl.hw.isa import VERSION


def describe_program(program: BoardProgram, hosts: Sequence[HostProgram]) -> FpgaProgram:
    """What a bundle says of a program."""
    beside = {task.task: task.program for task in hosts[0].cpu.tasks}
    steps, constants = describe_steps(program, hosts[0])
    granule = program.spec.engine.array_columns
    return FpgaProgram(
        device="fpga",
        instruction_set=VERSION,
        precision="int8",
        board=program.spec,
        engine=f"{engine_digest(program.spec.engine):016x}",
        share=program.share,
        on_chip=program.on_chip,
        parameters_bytes=len(program.parameters),
        hosts=tuple(_describe_host(host) for host in hosts),
        constants=tuple(cpu.describe_weight(tensor) for tensor in constants.tensors),
        constants_bytes=constants.size,
        tasks={task.task: _describe_task(task, beside[task.task], steps[task.task], granule) for task in program.tasks},
    )


def sections(program: BoardProgram, hosts: Sequence[HostProgram]) -> dict[str, bytes]:
    """The bundle's members that hold the program, by name."""
    _, constants = describe_steps(program, hosts[0])
    members = {WEIGHTS: program.parameters, HOST_CONSTANTS: cpu.pack_section(constants.tensors, constants.size)}
    for host in hosts:
        members |= {_library(host): host.cpu.library, _weights(host): cpu.weights_section(host.cpu)}
    for task in program.tasks:
        for index, segment in enumerate(task.segments):
            path = _path(task.task, index)
            members[f"{path}.stream"] = segment.stream
            members[f"{path}.layers"] = np.asarray(segment.layer, "<u2").tobytes()
    return members


def _path(task: str, index: int) -> str:
    return f"streams/{task}/{index}"


def _library(host: HostProgram) -> str:
    return f"program/host_{host.name}.so"


def _weights(host: HostProgram) -> str:
    return f"program/host_{host.name}.bin"


def _describe_host(host: HostProgram) -> Host:
    return Host(
        name=host.name,
        cpu=cpu.describe_program(host.cpu, _library(host)),
        weights=_weights(host),
        tensors=tuple(cpu.describe_weight(tensor) for tensor in host.cpu.weights),
        handovers=dict(host.handovers),
    )


def _describe_task(task: BoardTask, program: TaskProgram, steps: tuple[HostStep, ...], granule: int) -> FpgaTask:
    segments = tuple(
        _describe_segment(segment, _path(task.task, i), granule) for i, segment in enumerate(task.segments)
    )
    return FpgaTask(program.steps, program.output, steps, segments, task.left)


def _describe_segment(segment: BoardSegment, path: str, granule: int) -> Segment:
    return Segment(
        stream=f"{path}.stream",
        layer_index=f"{path}.layers",
        layers=segment.layers,
        inputs=tuple(_rows(rows) for rows in segment.inputs),
        outputs=tuple(_rows(rows) for rows in segment.outputs),
        windows=segment.windows,
        early=segment.early,
        routing=segment.routing,
        regions=tuple(_describe_region(segment.placement, region, granule) for region in segment.placement.plans),
    )


def _rows(stored: Stored) -> Rows:
    return Rows(stored.buffer, stored.line, stored.rows, stored.width, stored.dtype, stored.pitch)


def _describe_region(placement: Placement, region: str, granule: int) -> Region:
    plan = placement.plans[region]
    buffers = tuple(
        ChipBuffer(buffer.name, plan.offsets[buffer.name], buffer.granules * granule, *placement.lives[buffer.name])
        for buffer in placement.buffers
        if buffer.region == region
    )
    return Region(region, plan.arena_bytes, plan.lower_bound_bytes, buffers)
