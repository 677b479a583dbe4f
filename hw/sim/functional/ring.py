"""The weight ring: lines enter at the tail and leave at the head."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.memory import Bytes


class Ring:
    """A ring of ``lines``. Lines are counted from the first ever pushed; the ring contains those from head to tail."""

    def __init__(self, lines: int) -> None:
        self.lines, self._head, self._tail = lines, 0, 0
        self._data = np.zeros((lines, LINE_BYTES), np.uint8)
        self._pushed: list[tuple[int, int]] = []

    @property
    def level(self) -> int:
        """Lines in the ring."""
        return self._tail - self._head

    @property
    def room(self) -> int:
        """Lines that can enter."""
        return self.lines - self.level

    def push(self, data: Bytes, place: int) -> None:
        """Append whole lines, uint8 [n]; ``place``: index of the STREAM."""
        rows = data.reshape(-1, LINE_BYTES)
        if len(rows) > self.room:
            raise Fault(f"lines must fit the ring's room, {self.room}, not be {len(rows)}")
        self._data[(self._tail + np.arange(len(rows))) % self.lines] = rows
        self._tail += len(rows)
        self._pushed.append((place, self._tail))

    def read(self, offset: int, lines: int) -> Bytes:
        """``lines`` from ``offset`` behind the head, uint8 [bytes]."""
        if offset + lines > self.level:
            raise Fault(f"weights read must lie in the {self.level} lines of the ring, not end at {offset + lines}")
        return self._data[(self._head + offset + np.arange(lines)) % self.lines].reshape(-1)

    def release(self, lines: int) -> None:
        """Drop lines at the head."""
        if lines > self.level:
            raise Fault(f"lines released must be at most the {self.level} that the ring holds, not {lines}")
        self._head += lines

    def left_by(self) -> int:
        """Index of the STREAM whose lines are at the head."""
        return next(place for place, tail in self._pushed if tail > self._head)
