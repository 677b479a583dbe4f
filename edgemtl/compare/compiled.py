"""A compiled program in this process, one step at a time: the library the bundle would hold."""

from __future__ import annotations

import numpy as np

from edgemtl.codegen.cpu import CpuProgram
from edgemtl.lowering.ir import IMAGE, OUTPUT, View, space_of
from edgemtl.operators import Array
from edgemtl.runtime.buffers import Buffer
from edgemtl.runtime.library import Library, load_ffi
from edgemtl.runtime.machine import check_this_machine

ALL_STEPS = 2**31 - 1
SPACES = ("arena", "weights", "prepared", "image", "output")
"""In the order an entry takes them."""


class CompiledMachine:
    """The one task of a program, in memory of its own.

    Raises UnsupportedError for a program that this machine cannot run.
    """

    def __init__(self, program: CpuProgram) -> None:
        (self._task,) = program.tasks
        check_this_machine(program.target)
        output = int(np.prod(self._task.output_shape)) * np.dtype(self._task.output_dtype).itemsize
        sizes = program.arena_bytes, program.weights_bytes, program.prepared_bytes, program.image_bytes, output
        self._memory = {name: Buffer(name, size) for name, size in zip(SPACES, sizes, strict=True)}
        self._offsets = program.plan.offsets
        for tensor in program.weights:
            data = np.ascontiguousarray(tensor.array).reshape(-1).view(np.uint8)
            self._memory["weights"].array[tensor.offset : tensor.offset + data.size] = data
        self._spaces = [load_ffi().from_dlpack(self._memory[name].array) for name in SPACES]
        library = Library(program.library)
        if self._task.prepare is not None:
            library.function(self._task.prepare)(*self._spaces, 0, ALL_STEPS)
        self._entry = library.function(self._task.entry)
        self._library = library  # last, so that it is let go of behind its function

    def load(self, image: Array) -> None:
        """Put an image in its place; working memory is filled with NaN."""
        self._memory["arena"].poison()
        self._memory["image"].array[:] = np.ascontiguousarray(image).reshape(-1).view(np.uint8)

    def run(self, index: int) -> None:
        """Run one step."""
        self._entry(*self._spaces, index, index + 1)

    def read(self, view: View) -> Array:
        """The elements of a view of the arena, the image or the output."""
        space = space_of(view.buffer)
        start = view.offset_bytes + (0 if view.buffer in (IMAGE, OUTPUT) else self._offsets[view.buffer])
        data = self._memory[space].array[start:].data
        strides = tuple(stride * view.itemsize for stride in view.strides)
        return np.ndarray(view.shape, view.dtype, data, 0, strides)
