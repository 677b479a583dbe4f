"""Runs a compiled program from its bytes, with nothing of the runtime: one array per space, one call per
entry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tvm  # noqa: F401  # its runtime library must be loaded before a program is
import tvm_ffi

from edgemtl.codegen.cpu import CpuProgram, CpuTask
from edgemtl.operators import Frame
from tests.support.processors import demand

ALIGNMENT = 64
ALL_STEPS = 2**31 - 1


def aligned(size: int, fill: int = 0) -> np.ndarray:
    """Bytes at a 64-byte aligned address."""
    raw = np.full(size + ALIGNMENT, fill, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


class Machine:
    """A program loaded; ``arena`` is poisoned so that what is read before it is written shows."""

    def __init__(self, program: CpuProgram) -> None:
        demand(program.target)
        self.program = program
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program.so"
            path.write_bytes(program.library)
            self.library = tvm_ffi.load_module(str(path))
        self.arena = aligned(max(program.arena_bytes, 1), 0xFF)
        self.prepared = aligned(max(program.prepared_bytes, 1), 0xFF)
        self.weights = aligned(max(program.weights_bytes, 1))
        for tensor in program.weights:
            data = tensor.array.reshape(-1).view(np.uint8)
            self.weights[tensor.offset : tensor.offset + data.size] = data
        for task in program.tasks:
            if task.program.prepare is not None:
                self._call(task.program.prepare, *self._ends(task), 0, ALL_STEPS)

    def _ends(self, task: CpuTask) -> tuple[np.ndarray, np.ndarray]:
        """Memory for the image and the output of a task."""
        output = task.program.output
        size = int(np.prod(output.shape)) * np.dtype(output.dtype).itemsize
        return aligned(self.program.inputs_bytes), aligned(size)

    def run(self, task: str, inputs: np.ndarray | Frame, begin: int = 0, end: int = ALL_STEPS) -> np.ndarray:
        """The output of a task after steps begin .. end - 1."""
        found = next(t for t in self.program.tasks if t.task == task)
        source, output = self._ends(found)
        frame = inputs if isinstance(inputs, Mapping) else {next(iter(self.program.inputs)): inputs}
        for name, array in frame.items():
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            source[self.program.inputs[name] :][: data.size] = data
        self._call(found.program.entry, source, output, begin, end)
        return output.view(found.program.output.dtype).reshape(found.program.output.shape).copy()

    def _call(self, entry: str, image: np.ndarray, output: np.ndarray, begin: int, end: int) -> None:
        spaces = (self.arena, self.weights, self.prepared, image, output)
        self.library[entry](*(tvm_ffi.from_dlpack(space) for space in spaces), begin, end)
