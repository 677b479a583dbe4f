"""The weight ring as counts of bytes that entered and left it since the start of the simulation."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate


class Ring:
    """Room was reserved for the first ``asked`` bytes, those before ``head`` have left; arrivals have their cycles."""

    def __init__(self) -> None:
        self.asked = self.head = 0
        self._ends, self._times, self._waits = list[int](), list[int](), list[int]()
        self._size = 0
        self._changes: list[tuple[int, int]] = []

    @property
    def tail(self) -> int:
        """Bytes whose arrival is known."""
        return self._ends[-1] if self._ends else 0

    def has_room(self, size: int, ring: int) -> bool:
        """Whether a ring of ``ring`` bytes has room to fetch ``size`` more.

        The head may be ahead of the tail: an expert without tokens is released before its weights have arrived.
        """
        self._size = ring
        return self.asked + size - self.head <= ring

    def come(self, size: int, cycle: int, waited: int) -> None:
        """Record the arrival of a piece, and how many cycles the weights unit has stalled for room so far."""
        self._ends.append(self.tail + size)
        self._times.append(cycle)
        self._waits.append(waited)
        self._changes.append((cycle, size))

    def release(self, size: int, cycle: int) -> None:
        """Remove bytes at the head."""
        self.head += size
        if size:
            self._changes.append((cycle, -size))

    def when(self, need: int) -> int:
        """The cycle in which the first ``need`` bytes have arrived, which must be known."""
        return self._times[bisect_left(self._ends, need)]

    def late(self, need: int) -> int:
        """Cycles that the weights unit stalled for room over the last ring's worth of bytes before ``need``.

        A ring of twice the size would have received them that much earlier.
        """
        index = bisect_left(self._ends, need)
        before = bisect_left(self._ends, need - self._size)
        return self._waits[index] - (self._waits[before - 1] if before else 0)

    def levels(self) -> list[tuple[int, int]]:
        """(cycle, bytes in the ring) wherever the level changed."""
        changes = sorted(self._changes, key=lambda change: change[0])
        sums = accumulate(size for _, size in changes)
        by_cycle = dict(zip((cycle for cycle, _ in changes), sums, strict=True))
        return [(cycle, max(size, 0)) for cycle, size in by_cycle.items()]
