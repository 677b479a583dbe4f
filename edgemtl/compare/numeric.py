"""The integer law in numpy, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.lowering.execute import Memory, run_step
from edgemtl.lowering.ir import Step, View
from edgemtl.operators import Array, Frame


class NumericMachine:
    """The functional device: steps by their definition in numpy."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._memory: Memory | None = None

    def load(self, frame: Frame) -> None:
        """Put a frame into fresh memory."""
        self._memory = Memory(self._steps, frame)

    def run(self, index: int) -> None:
        """Run one step. Raises UnsupportedError for a kernel of TVM's own."""
        assert self._memory is not None, "a frame must be loaded first"
        run_step(index, self._steps[index], self._memory)

    def read(self, view: View) -> Array:
        """The elements of a view."""
        assert self._memory is not None, "a frame must be loaded first"
        return self._memory.read(view)
