"""A compiled program in this process, one step at a time: the library the bundle would hold."""

from __future__ import annotations

import numpy as np

from edgemtl.codegen.cpu import CpuProgram
from edgemtl.lowering.ir import INPUT, OUTPUT, View, space_of
from edgemtl.operators import Array, Frame
from edgemtl.runtime.buffers import Buffer
from edgemtl.runtime.library import Library, load_ffi
from edgemtl.runtime.machine import check_this_machine

ALL_STEPS = 2**31 - 1
SPACES = ("arena", "weights", "prepared", "inputs", "output")
"""In the order an entry takes them."""


class CompiledMachine:
    """The one task of a program, in memory of its own.

    Raises UnsupportedError for a program that this machine cannot run.
    """

    def __init__(self, program: CpuProgram) -> None:
        (self._task,) = program.tasks
        check_this_machine(program.target)
        task = self._task.program
        output = int(np.prod(task.output.shape)) * np.dtype(task.output.dtype).itemsize
        sizes = program.arena_bytes, program.weights_bytes, program.prepared_bytes, program.inputs_bytes, output
        self._memory = {name: Buffer(name, size) for name, size in zip(SPACES, sizes, strict=True)}
        self._inputs = program.inputs
        self._offsets = {**program.plan.offsets, **{f"{INPUT}{name}": at for name, at in program.inputs.items()}}
        for tensor in program.weights:
            data = np.ascontiguousarray(tensor.array).reshape(-1).view(np.uint8)
            self._memory["weights"].array[tensor.offset : tensor.offset + data.size] = data
        self._spaces = [load_ffi().from_dlpack(self._memory[name].array) for name in SPACES]
        library = Library(program.library)
        if task.prepare is not None:
            library.function(task.prepare)(*self._spaces, 0, ALL_STEPS)
        self._entry = library.function(task.entry)
        self._library = library  # last, so that it is let go of behind its function

    def load(self, frame: Frame) -> None:
        """Put a frame in its place; working memory is filled with NaN."""
        self._memory["arena"].poison()
        for name, array in frame.items():
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._memory["inputs"].array[self._inputs[name] :][: data.size] = data

    def run(self, index: int) -> None:
        """Run one step."""
        self._entry(*self._spaces, index, index + 1)

    def read(self, view: View) -> Array:
        """The elements of a view of the arena, the inputs or the output."""
        space = space_of(view.buffer)
        start = view.offset_bytes + (0 if view.buffer == OUTPUT else self._offsets[view.buffer])
        data = self._memory[space].array[start:].data
        strides = tuple(stride * view.itemsize for stride in view.strides)
        return np.ndarray(view.shape, view.dtype, data, 0, strides)
