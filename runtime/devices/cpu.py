"""The CPU: a library compiled by TVM, called in memory that is allocated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from edgemtl.bundle import InputEntry, Program, TaskProgram, input_bytes, input_layout
from edgemtl.bundle.manifest import WEIGHTS
from edgemtl.errors import EdgemtlError, UnsupportedError
from edgemtl.operators import Array
from edgemtl.runtime.available import check_memory
from edgemtl.runtime.buffers import Buffer, Bytes
from edgemtl.runtime.devices.sizes import check_sizes
from edgemtl.runtime.library import Library, load_ffi
from edgemtl.runtime.machine import check_this_machine, peak_resident_bytes
from edgemtl.runtime.records import Memory, SegmentRun

ALL_STEPS = 2**31 - 1


class CpuDevice:
    """A CPU program: its library and weights, and its inputs.

    Raises UnsupportedError where this machine cannot run it, BudgetError for its memory.
    """

    basis = "measured"
    sections: tuple[str, ...] = (WEIGHTS,)

    def __init__(self, program: Program, library: bytes, weights: Bytes, inputs: Sequence[InputEntry]) -> None:
        check_this_machine(program.target)
        offsets, inputs_bytes = input_layout(inputs)
        staging = inputs_bytes + sum(_output_bytes(task) for task in program.tasks.values())
        check_memory(program.arena_bytes + program.prepared_bytes + staging)
        self.program, self._staging_bytes = program, staging
        self._inputs = Buffer("inputs", inputs_bytes)
        self._arena = Buffer("arena", program.arena_bytes)
        self._prepared = Buffer("prepared memory", program.prepared_bytes)
        self._outputs = {name: Buffer(f"output of {name}", _output_bytes(task)) for name, task in program.tasks.items()}
        self.inputs = {of.name: _input_array(self._inputs, offsets[of.name], of) for of in inputs}
        self.outputs = {
            name: self._outputs[name].array.view(task.output.dtype).reshape(task.output.shape)
            for name, task in program.tasks.items()
        }
        spaces = [_tensor(a) for a in (self._arena.array, weights, self._prepared.array, self._inputs.array)]
        self._spaces = {name: (*spaces, _tensor(buffer.array)) for name, buffer in self._outputs.items()}
        self._library = Library(library)
        self._entries = {name: self._library.function(task.entry) for name, task in program.tasks.items()}

    @property
    def arena(self) -> Bytes:
        """The working memory, uint8 [arena_bytes]."""
        return self._arena.array

    def start(self) -> None:
        """Check the program's sizes, take the memory, make the prepared weights.

        Raises ConfigError where the manifest states other sizes than the program was compiled for.
        """
        prepares = {n: self._library.function(t.prepare) for n, t in self.program.tasks.items() if t.prepare}
        for entries in (self._entries, prepares):
            for name, entry in entries.items():
                check_sizes(self.program, name, entry, self._spaces[name])
        for buffer in self._buffers():
            buffer.commit()
        for name, prepare in prepares.items():
            self._call(name, prepare, 0, ALL_STEPS)

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task.

        Raises EdgemtlError where the program reports a failure.
        """
        self._call(task, self._entries[task], begin, end)

    def trace(self, task: str) -> tuple[SegmentRun, ...]:
        """Raise UnsupportedError: a CPU has no segments."""
        reason = "its program has no instruction streams to simulate"
        raise UnsupportedError("device cpu", reason, "compile the model for a board and open it with device='sim'")

    def _call(self, task: str, entry: Callable[..., Any], begin: int, end: int) -> None:
        try:
            entry(*self._spaces[task], begin, end)
        except Exception as error:
            raise EdgemtlError(f"{task}: the program must run to its end, and failed; {error}") from error

    def poison(self) -> None:
        """Fill the arena and the outputs with NaN."""
        for buffer in (self._arena, *self._outputs.values()):
            buffer.poison()

    def check_guards(self) -> None:
        """Raise IntegrityError where the program wrote outside a buffer."""
        for buffer in self._buffers():
            buffer.check()

    def _buffers(self) -> tuple[Buffer, ...]:
        return (self._arena, self._prepared, self._inputs, *self._outputs.values())

    def prepared(self) -> Bytes:
        """The prepared weights."""
        return self._prepared.array

    def memory(self) -> Memory:
        """Bytes held."""
        program = self.program
        sizes = (program.arena_bytes, program.prepared_bytes, self._staging_bytes, program.weights_bytes)
        return Memory(*sizes, peak_resident_bytes())

    def close(self) -> None:
        """Unload the library and let go of the mapped weights; may be called twice."""
        if self._spaces:
            self._entries.clear()
            self._spaces.clear()
            self._library.close()


def _output_bytes(task: TaskProgram) -> int:
    return np.dtype(task.output.dtype).itemsize * prod(task.output.shape)


def _input_array(space: Buffer, offset: int, entry: InputEntry) -> Array:
    return space.array[offset:][: input_bytes(entry)].view(entry.dtype).reshape(entry.shape)


def _tensor(array: Bytes) -> object:
    """The array as the library takes it, without a copy."""
    return load_ffi().from_dlpack(array)
