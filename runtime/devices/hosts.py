"""The CPU beside a simulated accelerator: its steps in numpy, or the bundle's native library for this machine."""

from __future__ import annotations

from math import prod
from typing import Protocol

import numpy as np

from edgemtl.bundle import Bundle, FpgaProgram, FpgaTask, Program, Rows, input_bytes
from edgemtl.bundle.fpga import HOST_CONSTANTS
from edgemtl.errors import UnsupportedError
from edgemtl.host import INPUT, NATIVE, OUTPUT, HostStep, HostView, run_operator
from edgemtl.operators import Array, Operator
from edgemtl.runtime.available import check_memory
from edgemtl.runtime.buffers import POISON, Buffer, Bytes
from edgemtl.runtime.devices.cpu import CpuDevice
from edgemtl.runtime.machine import peak_resident_bytes
from edgemtl.runtime.records import Memory

HOST = "x86"
"""The host whose program describes the steps of a simulation, and whose library a PC can run."""
Places = list[Bytes]
"""uint8 [rows, bytes of a row] of each row set that is handed over; they are the host's memory, not copies."""


class Host(Protocol):
    """The steps of a board's CPU; what `Device` says of the members of the same names holds."""

    sections: tuple[str, ...]
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    program: Program

    def start(self) -> None:
        """Make what is made once."""

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task; a segment's step does nothing."""

    def rows(self, task: str, segment: int) -> tuple[Places, Places]:
        """Where the rows lie that a segment reads and writes."""

    def poison(self) -> None:
        """Fill the working memory with NaN."""

    def check_guards(self) -> None:
        """Raise IntegrityError where a step wrote outside its memory."""

    def prepared(self) -> Bytes:
        """What `start` made of the weights."""

    def memory(self) -> Memory:
        """Bytes held."""

    def close(self) -> None:
        """Let go of everything; may be called twice."""


class NativeHost(CpuDevice):
    """The bundle's library for this machine. Raises what `CpuDevice` raises."""

    def __init__(self, bundle: Bundle, program: FpgaProgram) -> None:
        host = program.host(HOST)
        weights = bundle.weights(host.weights)
        super().__init__(host.cpu, bundle.member(host.cpu.library), weights, bundle.manifest.inputs)
        self.sections = (host.weights,)
        self._handovers, self._tasks = host.handovers, program.tasks

    def rows(self, task: str, segment: int) -> tuple[Places, Places]:
        """Where the rows of a segment lie in the arena."""
        handover, entry = self._handovers[task][segment], self._tasks[task].segments[segment]
        inputs = zip(handover.inputs, entry.inputs, strict=True)
        outputs = zip(handover.outputs, entry.outputs, strict=True)
        return [self._rows(*place) for place in inputs], [self._rows(*place) for place in outputs]

    def _rows(self, offset: int, rows: Rows) -> Bytes:
        return self.arena[offset:][: rows.rows * rows.row_bytes].reshape(rows.rows, rows.row_bytes)


class SteppedHost:
    """The steps as the bundle describes them, in numpy: no code of the bundle runs.

    Raises BudgetError for its memory.
    """

    sections: tuple[str, ...] = (HOST_CONSTANTS,)

    def __init__(self, bundle: Bundle, program: FpgaProgram) -> None:
        self.program, self._tasks = program.host(HOST).cpu, program.tasks
        inputs, outputs = bundle.manifest.inputs, {name: task.output for name, task in program.tasks.items()}
        sizes = _buffer_bytes(program)
        self._staging_bytes = sum(map(input_bytes, inputs)) + sum(
            prod(output.shape) * np.dtype(output.dtype).itemsize for output in outputs.values()
        )
        check_memory(sum(sizes.values()) + self._staging_bytes)
        self._buffers = {name: Buffer(f"buffer {name} of the host", size) for name, size in sizes.items()}
        self.inputs = {entry.name: np.zeros(entry.shape, entry.dtype) for entry in inputs}
        self.outputs = {name: np.zeros(output.shape, output.dtype) for name, output in outputs.items()}
        self._constants = _read_constants(bundle, program)

    def start(self) -> None:
        """Nothing is made once."""

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task.

        Raises ConfigError where a step's operands do not fit it, UnsupportedError for native code.
        """
        for index, step in enumerate(self._tasks[task].host[begin:end], begin):
            if step.operator == NATIVE:
                hint = "pass --native-host (native_host=True of Session.open) to run the library of the bundle"
                reason = "it is native code, which a simulation leaves out"
                raise UnsupportedError(f"{task}: step {index}", reason, hint)
            if step.sizes is not None:
                self._run_step(task, f"{task}: step {index} ({step.operator})", step, step.sizes)

    def _run_step(self, task: str, name: str, step: HostStep, operator: Operator) -> None:
        inputs, outputs = ([self._read(task, view) for view in views] for views in (step.inputs, step.outputs))
        run_operator(
            f"{name} ({type(operator).__name__})",
            operator,
            inputs,
            [self._constants[index] for index in step.constants],
            outputs,
        )

    def _read(self, task: str, view: HostView) -> Array:
        """The elements of a view, not copied; that they lie inside was checked when the bundle was opened."""
        own = {OUTPUT: self.outputs[task], **{f"{INPUT}{name}": array for name, array in self.inputs.items()}}
        flat = own[view.buffer].reshape(-1) if view.buffer in own else self._buffers[view.buffer].array.view(view.dtype)
        strides = [stride * flat.itemsize for stride in view.strides]
        return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides)

    def rows(self, task: str, segment: int) -> tuple[Places, Places]:
        """Where the rows of a segment lie in its buffers."""
        entry = self._tasks[task].segments[segment]
        step = next(step for step in self._tasks[task].host if step.segment == segment)
        inputs = zip(step.inputs, entry.inputs, strict=True)
        outputs = zip(step.outputs, entry.outputs, strict=True)
        return [self._rows(task, *place) for place in inputs], [self._rows(task, *place) for place in outputs]

    def _rows(self, task: str, view: HostView, rows: Rows) -> Bytes:
        values = self._read(task, view).reshape(rows.rows, rows.width)
        return values.view(np.uint8).reshape(rows.rows, rows.row_bytes)

    def poison(self) -> None:
        """Fill the buffers and the outputs with NaN."""
        for buffer in self._buffers.values():
            buffer.poison()
        for output in self.outputs.values():
            output.reshape(-1).view(np.uint8).fill(POISON)

    def check_guards(self) -> None:
        """Raise IntegrityError where a guard byte of a buffer was overwritten."""
        for buffer in self._buffers.values():
            buffer.check()

    def prepared(self) -> Bytes:
        """Nothing."""
        return np.zeros(0, np.uint8)

    def memory(self) -> Memory:
        """Bytes held: buffers are counted one by one, since numpy's host does not plan an arena."""
        constants = sum(array.nbytes for array in self._constants)
        arena = sum(buffer.size for buffer in self._buffers.values())
        return Memory(arena, 0, self._staging_bytes, constants, peak_resident_bytes())

    def close(self) -> None:
        """Let go of the mapped constants; may be called twice."""
        self._constants = []


def _buffer_bytes(program: FpgaProgram) -> dict[str, int]:
    """The bytes of each buffer: up to the furthest element that any step of any task sees."""
    sizes: dict[str, int] = {}
    for view in (view for task in program.tasks.values() for view in _views(task)):
        if view.buffer != OUTPUT and not view.buffer.startswith(INPUT):
            extent = view.extent * np.dtype(view.dtype).itemsize
            sizes[view.buffer] = max(sizes.get(view.buffer, 0), extent)
    return sizes


def _views(task: FpgaTask) -> list[HostView]:
    return [view for step in task.host for view in (*step.inputs, *step.outputs)]


def _read_constants(bundle: Bundle, program: FpgaProgram) -> list[Array]:
    section = bundle.weights(HOST_CONSTANTS)
    parts = [section[entry.offset :][: entry.bytes] for entry in program.constants]
    return [part.view(e.dtype).reshape(e.shape) for part, e in zip(parts, program.constants, strict=True)]
