"""What scores0 and scores1 remember of each row: its largest score, then the reciprocal of the sum of its weights."""

from __future__ import annotations

from typing import Final

import numpy as np

from edgemtl.hw.arith import Ints, Wide
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.hazards import Index, Timeline, Watch

NOTHING: Final = 0
LARGEST: Final = 1
RECIPROCAL: Final = 2
_NAMES: Final = ("nothing", "a largest score", "a reciprocal")


class RowState:
    """The state of ``rows`` rows of one copy of the scores; rows count from 0 in every SCORES and SOFTMAX."""

    def __init__(self, scores: str, rows: int, timeline: Timeline | None) -> None:
        self.name, self.rows = f"the row state of {scores}", rows
        self._kind = np.full(rows, NOTHING)
        self._values = np.zeros((rows, 2), np.int64)
        self._watch = None if timeline is None else Watch(self.name, rows, timeline)

    def put(self, kind: int, first: Ints, second: Ints | int = 0) -> None:
        """Set rows 0, 1, .. to largest scores, or to (mantissa, exponent): int64 [rows] each."""
        at = np.arange(len(first))
        self._check(at)
        if self._watch is not None:
            self._watch.write(at, apart=False)
        self._kind[at] = kind
        self._values[at, 0], self._values[at, 1] = first, second

    def get(self, kind: int, at: Index) -> tuple[Wide, Wide]:
        """What rows ``at`` hold, int64 [n] twice. Raises Fault where one holds something else."""
        self._check(at)
        if self._watch is not None:
            self._watch.read(at)
        wrong = self._kind[at] != kind
        if wrong.any():
            row = at[wrong.argmax()]
            raise Fault(f"row {row} of {self.name} must hold {_NAMES[kind]}, not {_NAMES[self._kind[row]]}")
        return self._values[at, 0], self._values[at, 1]

    def _check(self, at: Index) -> None:
        if at.max() >= self.rows:
            raise Fault(f"rows must lie in 0..{self.rows - 1} of {self.name}, not reach {at.max()}")
