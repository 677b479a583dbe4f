"""A compiled FPGA program as a bundle's manifest entries and members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from edgemtl.bundle.fpga import HOST_CONSTANTS
from edgemtl.codegen import cpu
from edgemtl.codegen.fpga.describe import describe_steps
from edgemtl.codegen.fpga.host import HostProgram
from edgemtl.codegen.fpga.instructions import OnChipBuffer
from edgemtl.codegen.fpga.place import Placement
from edgemtl.codegen.fpga.program import FpgaProgram, FpgaTask
from edgemtl.codegen.fpga.segment import Segment
from edgemtl.codegen.fpga.site import Stored
from edgemtl.hw.encoding import engine_digest


def to_manifest(program: FpgaProgram, hosts: Sequence[HostProgram]) -> dict[str, Any]:
    """The "program" and "weights" entries of a bundle's manifest."""
    programs = {task.task: task for task in hosts[0].cpu.tasks}
    steps, constants = describe_steps(program, hosts[0])
    granule = program.spec.engine.array_columns
    entry = {
        "device": "fpga",
        "precision": "int8",
        "board": asdict(program.spec),
        "engine": f"{engine_digest(program.spec.engine):016x}",
        "share": program.share,
        "on_chip": program.on_chip,
        "parameters_bytes": len(program.parameters),
        "hosts": [_host_entry(host) for host in hosts],
        "constants": [cpu.weight_entry(tensor) for tensor in constants.tensors],
        "constants_bytes": constants.size,
        "tasks": {
            task.task: _task_entry(task, programs[task.task], steps[task.task], granule) for task in program.tasks
        },
    }
    return {"program": entry, "weights": []}


def sections(program: FpgaProgram, hosts: Sequence[HostProgram]) -> dict[str, bytes]:
    """The bundle's members that hold the program, by name."""
    _, constants = describe_steps(program, hosts[0])
    members = {"weights.bin": program.parameters, HOST_CONSTANTS: cpu.pack_section(constants.tensors, constants.size)}
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


def _host_entry(host: HostProgram) -> dict[str, Any]:
    described = cpu.to_manifest(host.cpu)
    return {
        "name": host.name,
        "cpu": described["program"] | {"library": _library(host)},
        "weights": _weights(host),
        "tensors": described["weights"],
        "handovers": {task: [asdict(item) for item in handovers] for task, handovers in host.handovers.items()},
    }


def _task_entry(
    task: FpgaTask, program: cpu.TaskProgram, steps: Sequence[Mapping[str, Any]], granule: int
) -> dict[str, Any]:
    return {
        "steps": len(program.steps),
        "output": {"shape": list(program.output_shape), "dtype": program.output_dtype},
        "host": list(steps),
        "segments": [_segment_entry(segment, _path(task.task, i), granule) for i, segment in enumerate(task.segments)],
        "left": [asdict(step) for step in task.left],
    }


def _segment_entry(segment: Segment, path: str, granule: int) -> dict[str, Any]:
    return {
        "stream": f"{path}.stream",
        "layer_index": f"{path}.layers",
        "layers": [asdict(layer) for layer in segment.layers],
        "inputs": [_rows_entry(rows) for rows in segment.inputs],
        "outputs": [_rows_entry(rows) for rows in segment.outputs],
        "windows": dict(segment.windows),
        "early": [list(experts) for experts in segment.early],
        "routing": [dict(zip(("tokens", "top_k", "experts"), sizes, strict=True)) for sizes in segment.routing],
        "regions": [_region_entry(segment.placement, region, granule) for region in segment.placement.plans],
    }


def _rows_entry(rows: Stored) -> Mapping[str, Any]:
    return {name: getattr(rows, name) for name in ("buffer", "line", "rows", "width", "dtype", "pitch")}


def _region_entry(placement: Placement, region: str, granule: int) -> dict[str, Any]:
    plan = placement.plans[region]
    buffers = [_buffer_entry(placement, buffer, granule) for buffer in placement.buffers if buffer.region == region]
    sizes = {"arena_bytes": plan.arena_bytes, "lower_bound_bytes": plan.lower_bound_bytes}
    return {"name": region, **sizes, "buffers": buffers}


def _buffer_entry(placement: Placement, buffer: OnChipBuffer, granule: int) -> dict[str, Any]:
    first, last = placement.lives[buffer.name]
    sizes = {"offset": placement.plans[buffer.region].offsets[buffer.name], "bytes": buffer.granules * granule}
    return {"name": buffer.name, **sizes, "first": first, "last": last}
