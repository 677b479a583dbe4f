"""The simulator: an FPGA's program on this machine, bit for bit; how long it takes here says nothing about the board.

Steps of the host CPU are computed in numpy or, on request, by the bundle's library for this machine. Segments run in
the functional simulator; rows are copied between the host's memory and a segment's windows, as a driver would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl.bundle import Bundle, FpgaProgram, Program, Rows, Segment
from edgemtl.bundle.manifest import WEIGHTS
from edgemtl.bundle.reader import read_layer_index
from edgemtl.errors import IntegrityError
from edgemtl.hw.checker import check_stream, is_token_order
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.functional import Windows, execute
from edgemtl.runtime.available import check_memory
from edgemtl.runtime.buffers import Buffer, Bytes
from edgemtl.runtime.devices.hosts import HOST, Host, NativeHost, SteppedHost
from edgemtl.runtime.records import Memory, SegmentRun

WINDOWS = ("input", "output", "scratch")


@dataclass(frozen=True)
class Loaded:
    """A segment with its number in the task, its stream, and the step of the host's program that it stands for."""

    number: int
    entry: Segment
    stream: bytes
    step: int


class SimDevice:
    """An FPGA's program in simulation; ``check_hazards``: refuse streams whose result depends on the units' timing.

    native_host: the steps of the host CPU run in the bundle's library. Raises UnsupportedError where this machine
    cannot run that, BudgetError for its memory, IntegrityError for a stream that is not whole or legal, UsageError for
    one that is for another engine.
    """

    basis = "simulator"

    def __init__(self, bundle: Bundle, program: FpgaProgram, check_hazards: bool, native_host: bool) -> None:
        handovers = program.host(HOST).handovers
        steps = {task: [handover.step for handover in of_task] for task, of_task in handovers.items()}
        self._spec, self._check_hazards, self._parameters_bytes = program.board, check_hazards, program.parameters_bytes
        self._segments = {name: _load(bundle, program, name, steps[name]) for name in program.tasks}
        self._bundle = bundle
        _check_streams([loaded for task in self._segments.values() for loaded in task], program)
        sizes = {name: _most(self._segments, name) for name in WINDOWS}
        check_memory(sum(sizes.values()))
        self._windows = {name: Buffer(f"window {name}", size) for name, size in sizes.items()}
        self._parameters: Bytes | None = bundle.weights()
        self._host: Host = NativeHost(bundle, program) if native_host else SteppedHost(bundle, program)
        self.inputs, self.outputs = self._host.inputs, self._host.outputs
        self.sections: tuple[str, ...] = (WEIGHTS, *self._host.sections)

    @property
    def program(self) -> Program:
        """The host's program, whose steps count segments too."""
        return self._host.program

    def start(self) -> None:
        """Check the sizes of the host's program and prepare its weights."""
        self._host.start()
        for buffer in self._windows.values():
            buffer.commit()

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task. Raises what `CpuDevice.run` and the simulator raise."""
        self._walk(task, begin, end)

    def trace(self, task: str) -> tuple[SegmentRun, ...]:
        """Run a whole task; what each of its segments did."""
        return tuple(self._walk(task, 0, self.program.tasks[task].steps))

    def _walk(self, task: str, begin: int, end: int) -> list[SegmentRun]:
        runs = []
        for loaded in self._segments[task]:
            if begin <= loaded.step < end:
                self._host.run(task, begin, loaded.step)
                runs.append(self._execute(task, loaded))
                begin = loaded.step + 1
        self._host.run(task, begin, end)
        return runs

    def _execute(self, task: str, loaded: Loaded) -> SegmentRun:
        entry, (inputs, outputs) = loaded.entry, self._host.rows(task, loaded.number)
        buffers = {name: self._windows[name].array[: getattr(entry.windows, name)] for name in WINDOWS}
        for rows, place in zip(entry.inputs, inputs, strict=True):
            _in_window(buffers["input"], rows)[:] = place
        assert self._parameters is not None
        windows = Windows(self._parameters, **buffers)
        result = execute(loaded.stream, self._spec, windows, check_hazards=self._check_hazards)
        for rows, place in zip(entry.outputs, outputs, strict=True):
            place[:] = _in_window(buffers["output"], rows)
        index = read_layer_index(entry, self._bundle.section(entry.layer_index))
        images = buffers["input"].copy(), buffers["output"].copy()
        return SegmentRun(loaded.stream, result.routes, entry.early, entry, index, *images)

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

    def prepared(self) -> Bytes:
        """The weights that the host prepared."""
        return self._host.prepared()

    def memory(self) -> Memory:
        """Bytes in use on this machine: windows count as staging, parameters as weights."""
        memory = self._host.memory()
        staging = memory.staging_bytes + sum(buffer.size for buffer in self._windows.values())
        return replace(memory, staging_bytes=staging, weights_bytes=memory.weights_bytes + self._parameters_bytes)

    def close(self) -> None:
        """Unload the library and let go of the mapped parameters; may be called twice."""
        self._parameters = None
        self._host.close()


def _load(bundle: Bundle, program: FpgaProgram, task: str, steps: Sequence[int]) -> tuple[Loaded, ...]:
    """A task's segments in the order in which they run."""
    entries = zip(program.tasks[task].segments, steps, strict=True)
    segments = [Loaded(number, s, bundle.member(s.stream), step) for number, (s, step) in enumerate(entries)]
    return tuple(sorted(segments, key=lambda loaded: loaded.step))


def _check_streams(segments: Sequence[Loaded], program: FpgaProgram) -> None:
    """Raise what `decode_stream` and `check_stream` raise, and IntegrityError where weight rings differ."""
    rings: dict[int, str] = {}
    for segment in segments:
        stream = decode_stream(segment.stream, program.board.engine)
        if not is_token_order(stream):
            windows = {name: getattr(segment.entry.windows, name) for name in WINDOWS}
            check_stream(stream, program.board.engine, {**windows, "parameters": program.parameters_bytes})
        rings[stream.ring_lines] = segment.entry.stream
    if len(rings) > 1:
        lines, names = ", ".join(map(str, rings)), " and ".join(rings.values())
        raise IntegrityError(f"{names} must have weight rings of one size, not of {lines} lines; compile them together")


def _most(segments: Mapping[str, Sequence[Loaded]], window: str) -> int:
    return max((getattr(segment.entry.windows, window) for task in segments.values() for segment in task), default=0)


def _in_window(window: Bytes, rows: Rows) -> Bytes:
    """uint8 [rows, bytes of a row], a pitch apart."""
    first = rows.line * LINE_BYTES
    return window[first : first + rows.rows * rows.pitch].reshape(rows.rows, rows.pitch)[:, : rows.row_bytes]
