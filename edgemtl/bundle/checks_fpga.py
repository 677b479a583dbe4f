"""What must hold between the fields of an FPGA's program; one small function per rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgemtl.bundle.checks_host import check_host_steps
from edgemtl.bundle.checks_program import check_member, check_program, check_tensors, fail
from edgemtl.bundle.fpga import HOST_CONSTANTS, FpgaProgram, Host
from edgemtl.bundle.inputs import InputType
from edgemtl.bundle.segment import Rows, Segment
from edgemtl.hw.encoding import engine_digest
from edgemtl.hw.isa import INSTRUCTION_BYTES, LINE_BYTES
from edgemtl.hw.regions import capacities
from edgemtl.processor import HOSTS

HEAD_AND_END = 2
INDEX_BYTES = 2


def check_fpga(program: FpgaProgram, inputs: Sequence[InputType]) -> None:
    """Raise ConfigError where two parts of the program contradict each other, or the inputs."""
    digest = f"{engine_digest(program.board.engine):016x}"
    if program.engine != digest:
        fail("program.engine", f"{digest}, the digest of the board's engine", program.engine)
    if (names := [host.name for host in program.hosts]) != list(HOSTS):
        fail("program.hosts", f"the hosts {', '.join(HOSTS)} in this order", names)
    for index, host in enumerate(program.hosts):
        _check_host(program, host, f"program.hosts[{index}]")
    for name, task in program.tasks.items():
        for index, segment in enumerate(task.segments):
            place, path = f"program.tasks.{name}.segments[{index}]", f"streams/{name}/{index}"
            check_member(f"{place}.stream", f"{path}.stream", segment.stream)
            check_member(f"{place}.layer_index", f"{path}.layers", segment.layer_index)
            _check_segment(program, segment, place)
    check_tensors(program.constants, program.constants_bytes, "program.constants")
    check_host_steps(program, inputs)


def _check_host(program: FpgaProgram, host: Host, place: str) -> None:
    check_program(host.cpu, f"{place}.cpu", f"program/host_{host.name}.so")
    check_member(f"{place}.weights", f"program/host_{host.name}.bin", host.weights)
    check_tensors(host.tensors, host.cpu.weights_bytes, f"{place}.tensors")
    for what, by_task in (("cpu.tasks", host.cpu.tasks), ("handovers", host.handovers)):
        if set(by_task) != set(program.tasks):
            fail(f"{place}.{what}", f"the tasks {sorted(program.tasks)}", sorted(by_task))
    for name, task in program.tasks.items():
        cpu_task = host.cpu.tasks[name]
        for what, actual, expected in (
            ("steps", cpu_task.steps, task.steps),
            ("output", cpu_task.output, task.output),
        ):
            if actual != expected:
                fail(f"{place}.cpu.tasks.{name}.{what}", f"those of the task, {expected}", actual)
        _check_handovers(host, name, task.segments, f"{place}.handovers.{name}")


def _check_handovers(host: Host, task: str, segments: Sequence[Segment], place: str) -> None:
    handovers, steps = host.handovers[task], host.cpu.tasks[task].steps
    if len(handovers) != len(segments):
        fail(place, f"one for each of {len(segments)} segments", f"{len(handovers)}")
    at = [handover.step for handover in handovers]
    if len(set(at)) != len(at) or max(at, default=0) >= steps:
        fail(place, f"at steps of their own below {steps}", at)
    for index, (handover, segment) in enumerate(zip(handovers, segments, strict=True)):
        _check_places(handover.inputs, segment.inputs, host.cpu.arena_bytes, f"{place}[{index}].inputs")
        _check_places(handover.outputs, segment.outputs, host.cpu.arena_bytes, f"{place}[{index}].outputs")


def _check_places(offsets: Sequence[int], rows: Sequence[Rows], arena: int, place: str) -> None:
    if len(offsets) != len(rows):
        fail(place, f"one for each of {len(rows)} of the segment", f"{len(offsets)}")
    for offset, part in zip(offsets, rows, strict=True):
        if offset + part.rows * part.row_bytes > arena:
            fail(place, f"inside the arena of {arena} bytes", offset)


def _check_segment(program: FpgaProgram, segment: Segment, place: str) -> None:
    if not segment.layers:
        fail(f"{place}.layers", "at least one layer", "none")
    if len(segment.early) != len(segment.routing):
        fail(f"{place}.early", f"one list for each of {len(segment.routing)} routers", f"{len(segment.early)}")
    for index, (early, routing) in enumerate(zip(segment.early, segment.routing, strict=True)):
        if len(set(early)) != len(early) or any(expert >= routing.experts for expert in early):
            fail(f"{place}.early[{index}]", f"different ones of {routing.experts} experts", list(early))
    _check_rows(segment.inputs, segment.windows.input, f"{place}.inputs")
    _check_rows(segment.outputs, segment.windows.output, f"{place}.outputs")
    _check_regions(program, segment, place)


def _check_rows(parts: Sequence[Rows], window: int, place: str) -> None:
    for index, rows in enumerate(parts):
        if rows.pitch < rows.row_bytes:
            fail(f"{place}[{index}].pitch", f"at least the {rows.row_bytes} bytes of a row", rows.pitch)
        if (end := rows.line * LINE_BYTES + rows.rows * rows.pitch) > window:
            fail(f"{place}[{index}]", f"inside its window of {window} bytes", f"{end} bytes long")


def _check_regions(program: FpgaProgram, segment: Segment, place: str) -> None:
    sizes = capacities(program.board.engine)
    if len({region.name for region in segment.regions}) != len(segment.regions):
        fail(f"{place}.regions", "each region once", [region.name for region in segment.regions])
    for region in segment.regions:
        where = f"{place}.regions: {region.name}"
        if not region.lower_bound_bytes <= region.arena_bytes <= sizes[region.name]:
            bounds = f"from {region.lower_bound_bytes}, its lower bound, to the {sizes[region.name]} bytes there are"
            fail(where, bounds, region.arena_bytes)
        for buffer in region.buffers:
            if buffer.offset + buffer.bytes > region.arena_bytes or buffer.first > buffer.last:
                fail(where, f"made of buffers in its {region.arena_bytes} bytes, with a first use and a last", buffer)


def fpga_members(program: FpgaProgram) -> Iterator[str]:
    """The names of the program's members but the parameters."""
    for host in program.hosts:
        yield from (host.cpu.library, host.weights)
    yield HOST_CONSTANTS
    for task in program.tasks.values():
        for segment in task.segments:
            yield from (segment.stream, segment.layer_index)


def check_fpga_sizes(program: FpgaProgram, sizes: Mapping[str, int]) -> None:
    """Raise ConfigError where members by name do not have the bytes that the program says or needs."""
    for host in program.hosts:
        if sizes[host.weights] != host.cpu.weights_bytes:
            fail(f"sections: {host.weights}", f"{host.cpu.weights_bytes} bytes", f"{sizes[host.weights]} bytes")
    if sizes[HOST_CONSTANTS] != program.constants_bytes:
        fail(f"sections: {HOST_CONSTANTS}", f"{program.constants_bytes} bytes", f"{sizes[HOST_CONSTANTS]} bytes")
    for task in program.tasks.values():
        for segment in task.segments:
            instructions, rest = divmod(sizes[segment.stream], INSTRUCTION_BYTES)
            if rest or instructions < HEAD_AND_END:
                must = f"two or more instructions of {INSTRUCTION_BYTES} bytes"
                fail(f"sections: {segment.stream}", must, f"{sizes[segment.stream]} bytes")
            if sizes[segment.layer_index] != (size := INDEX_BYTES * (instructions - HEAD_AND_END)):
                must = f"{size} bytes, {INDEX_BYTES} an instruction"
                fail(f"sections: {segment.layer_index}", must, f"{sizes[segment.layer_index]} bytes")
