"""The simulator: an FPGA's program on this machine, bit for bit; how long it takes here says nothing about the board.

Steps of the CPU run through a library for this machine, segments in the functional simulator; rows are copied between
the arena and a segment's windows as a driver would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl.bundle import Bundle, FpgaProgram, Handover, Program, Rows, Segment
from edgemtl.bundle.reader import read_layer_index
from edgemtl.errors import IntegrityError
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.functional import Result, Windows, execute
from edgemtl.runtime.available import check_memory
from edgemtl.runtime.buffers import Buffer, Bytes
from edgemtl.runtime.devices.cpu import CpuDevice
from edgemtl.runtime.records import Memory, SegmentRun

HOST = "x86"
WINDOWS = ("input", "output", "scratch")


@dataclass(frozen=True)
class Loaded:
    """A segment with its stream, and where its rows lie in the arena."""

    entry: Segment
    stream: bytes
    handover: Handover


class SimDevice:
    """An FPGA's program in simulation; ``check_hazards``: no access of two units may depend on which comes first.

    Raises UnsupportedError where this machine cannot run the host's library, BudgetError for its memory, IntegrityError
    for a stream that is not whole or legal, UsageError for one that is for another engine.
    """

    basis = "simulator"

    def __init__(self, bundle: Bundle, program: FpgaProgram, check_hazards: bool) -> None:
        host = program.host(HOST)
        self._spec, self._check_hazards, self._parameters_bytes = program.board, check_hazards, program.parameters_bytes
        self._segments = {name: _load(bundle, program, name, host.handovers[name]) for name in program.tasks}
        self._bundle = bundle
        _check_streams([held for task in self._segments.values() for held in task], program)
        sizes = {name: _most(self._segments, name) for name in WINDOWS}
        check_memory(host.cpu.arena_bytes + host.cpu.prepared_bytes + sum(sizes.values()))
        self._windows = {name: Buffer(f"window {name}", size) for name, size in sizes.items()}
        self._parameters: Bytes | None = bundle.weights()
        library, weights = bundle.member(host.cpu.library), bundle.weights(host.weights)
        self._host = CpuDevice(host.cpu, library, weights, bundle.manifest.input.shape)
        self.image, self.outputs = self._host.image, self._host.outputs

    @property
    def program(self) -> Program:
        """The host's program, whose steps count segments too."""
        return self._host.program

    def start(self) -> None:
        """Check the sizes of the host's program, make its prepared weights."""
        self._host.start()
        for buffer in self._windows.values():
            buffer.commit()

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task. Raises what `CpuDevice.run` and the simulator raise."""
        self._walk(task, begin, end)

    def trace(self, task: str) -> tuple[SegmentRun, ...]:
        """Run a whole task and tell what each of its segments did."""
        return tuple(self._walk(task, 0, self.program.tasks[task].steps))

    def _walk(self, task: str, begin: int, end: int) -> list[SegmentRun]:
        made = []
        for loaded in self._segments[task]:
            step = loaded.handover.step
            if begin <= step < end:
                self._host.run(task, begin, step)
                made.append(self._describe(loaded, self._execute(loaded)))
                begin = step + 1
        self._host.run(task, begin, end)
        return made

    def _execute(self, loaded: Loaded) -> Result:
        entry, arena = loaded.entry, self._host.arena
        held = {name: self._windows[name].array[: getattr(entry.windows, name)] for name in WINDOWS}
        for rows, at in zip(entry.inputs, loaded.handover.inputs, strict=True):
            _in_window(held["input"], rows)[:] = _in_arena(arena, at, rows)
        assert self._parameters is not None
        windows = Windows(self._parameters, **held)
        result = execute(loaded.stream, self._spec, windows, check_hazards=self._check_hazards)
        for rows, at in zip(entry.outputs, loaded.handover.outputs, strict=True):
            _in_arena(arena, at, rows)[:] = _in_window(held["output"], rows)
        return result

    def _describe(self, loaded: Loaded, result: Result) -> SegmentRun:
        index = read_layer_index(loaded.entry, self._bundle.section(loaded.entry.layer_index))
        return SegmentRun(loaded.stream, result.routes, loaded.entry.early, loaded.entry, index)

    def poison(self) -> None:
        """Fill the arena, the windows and the outputs with NaN."""
        self._host.poison()
        for buffer in self._windows.values():
            buffer.poison()

    def check_guards(self) -> None:
        """Raise IntegrityError where the program wrote outside a buffer."""
        self._host.check_guards()
        for buffer in self._windows.values():
            buffer.check()

    def memory(self) -> Memory:
        """Bytes held on this machine: windows count as staging, parameters as weights."""
        held = self._host.memory()
        staging = held.staging_bytes + sum(buffer.size for buffer in self._windows.values())
        return replace(held, staging_bytes=staging, weights_bytes=held.weights_bytes + self._parameters_bytes)

    def close(self) -> None:
        """Unload the library and let go of the mapped parameters; may be called twice."""
        self._parameters = None
        self._host.close()


def _load(bundle: Bundle, program: FpgaProgram, task: str, handovers: Sequence[Handover]) -> tuple[Loaded, ...]:
    """A task's segments in the order in which they run."""
    segments = program.tasks[task].segments
    made = [Loaded(s, bundle.member(s.stream), held) for s, held in zip(segments, handovers, strict=True)]
    return tuple(sorted(made, key=lambda loaded: loaded.handover.step))


def _check_streams(segments: Sequence[Loaded], program: FpgaProgram) -> None:
    """Raise what `decode_stream` raises, and IntegrityError where streams do not share one weight ring."""
    rings = {decode_stream(held.stream, program.board.engine).ring_lines: held.entry.stream for held in segments}
    if len(rings) > 1:
        lines, names = ", ".join(map(str, rings)), " and ".join(rings.values())
        raise IntegrityError(f"{names} must have weight rings of one size, not of {lines} lines; compile them together")


def _most(segments: Mapping[str, Sequence[Loaded]], window: str) -> int:
    return max((getattr(held.entry.windows, window) for task in segments.values() for held in task), default=0)


def _in_arena(arena: Bytes, offset: int, rows: Rows) -> Bytes:
    """uint8 [rows, bytes of a row], one row behind the other."""
    return arena[offset:][: rows.rows * rows.row_bytes].reshape(rows.rows, rows.row_bytes)


def _in_window(window: Bytes, rows: Rows) -> Bytes:
    """uint8 [rows, bytes of a row], a pitch apart."""
    first = rows.line * LINE_BYTES
    return window[first : first + rows.rows * rows.pitch].reshape(rows.rows, rows.pitch)[:, : rows.row_bytes]
