"""Hazards, that is accesses without an order: happens-before follows from each unit's own order and from credits.

A clock is int64 [units + 1]: how many instructions of each unit had ended before a moment; the last entry stays 0 and
belongs to "nobody yet". An instruction's accesses lie between its start and its end. Units other than the matrix unit
end an instruction before they start the next. The matrix unit starts and ends its instructions in order, but they
overlap: it may read its own result only after a credit. Its writes, and a write after a read, keep their order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edgemtl.hw.isa import UNITS, Instruction
from edgemtl.hw.sim.functional.faults import Fault, called

Clock = npt.NDArray[np.int64]
Index = npt.NDArray[np.int64]

NOBODY: Final = len(UNITS)
_OVERLAPS: Final = "matrix"
"""The unit that starts an instruction before the previous one has ended."""


class Timeline:
    """The current instruction, and the clock at its start."""

    def __init__(self) -> None:
        self.unit, self.number = 0, 0
        self.clock: Clock = np.zeros(len(UNITS) + 1, np.int64)
        self._starts: list[Clock] = [self.clock] * len(UNITS)
        self._begun: list[list[tuple[int, Instruction]]] = [[] for _ in UNITS]

    def begin(self, place: int, instruction: Instruction, credits: list[Clock]) -> None:
        """Start an instruction that consumed ``credits``."""
        self.unit = UNITS.index(instruction.unit)
        self._begun[self.unit].append((place, instruction))
        self.number = len(self._begun[self.unit])
        self.clock = np.max([self._starts[self.unit], *credits], 0)
        if instruction.unit != _OVERLAPS:
            self.clock[self.unit] = self.number - 1
        self._starts[self.unit] = self.clock

    def end(self) -> Clock:
        """The clock that its credits carry."""
        ended = self.clock.copy()
        ended[self.unit] = self.number
        return ended

    def name(self, unit: int, number: int) -> str:
        """How messages name the ``number``-th instruction of a unit, counted from 1."""
        return called(*self._begun[unit][number - 1])


class Watch:
    """For each granule of a memory, the last writer and the last readers."""

    def __init__(self, name: str, granules: int, timeline: Timeline) -> None:
        self._name, self._timeline = name, timeline
        self._writer = np.full(granules, NOBODY, np.int8)
        self._wrote = np.zeros(granules, np.int64)
        self._read = np.zeros((len(UNITS), granules), np.int64)
        self._last = np.zeros(granules, np.int64)

    def read(self, at: Index, record: bool = True) -> None:
        """The current instruction reads granules ``at``; not recorded where it writes all of them back.

        Raises Fault where an earlier write to one of them is not ordered before.
        """
        at, now = at.ravel(), self._timeline
        late = now.clock[self._writer[at]] < self._wrote[at]
        if late.any():
            granule = at[late.argmax()]
            raise self._race("reads", granule, "writes", int(self._writer[granule]), int(self._wrote[granule]))
        if record:
            self._read[now.unit, at] = now.number

    def write(self, at: Index, apart: bool) -> None:
        """The current instruction writes granules ``at``; ``apart``: it must not have read them.

        Raises Fault where an earlier access to one of them is not ordered before, and where rows overlap.
        """
        at, now = at.ravel(), self._timeline
        self._check_rows(at, apart)
        late = (now.clock[self._writer[at]] < self._wrote[at]) & (self._writer[at] != now.unit)
        if late.any():
            granule = at[late.argmax()]
            raise self._race("writes", granule, "writes", int(self._writer[granule]), int(self._wrote[granule]))
        for unit in range(len(UNITS)):
            late = self._read[unit, at] > now.clock[unit]
            if unit != now.unit and late.any():
                granule = at[late.argmax()]
                raise self._race("writes", granule, "reads", unit, int(self._read[unit, granule]))
        self._writer[at], self._wrote[at] = now.unit, now.number

    def _check_rows(self, at: Index, apart: bool) -> None:
        now, order = self._timeline, np.arange(len(at))
        self._last[at] = order
        twice = self._last[at] != order
        if twice.any():
            raise Fault(f"rows written must lie apart, and two hold granule {at[twice.argmax()]} of {self._name}")
        own = self._read[now.unit, at] == now.number
        if apart and own.any():
            raise Fault(
                f"rows written must lie apart from those read; granule {at[own.argmax()]} of {self._name} is both"
            )

    def _race(self, does: str, granule: int, other: str, unit: int, number: int) -> Fault:
        return Fault(
            f"it {does} granule {granule} of {self._name} that {self._timeline.name(unit, number)} {other}; "
            "tokens must order the two, and do not"
        )
