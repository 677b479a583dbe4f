"""The weight ring as bytes that came in and bytes that left, both counted from the begin of the simulation."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate


class Ring:
    """``asked`` bytes have their room, those before ``head`` have left, and what came is kept with its cycle."""

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
        """Whether a piece may be asked for in a ring of ``ring`` bytes. The head may be before the tail.

        That happens where an expert without tokens is released before its weights have come; they pass through.
        """
        self._size = ring
        return self.asked + size - self.head <= ring

    def come(self, size: int, cycle: int, waited: int) -> None:
        """A piece is there in ``cycle``; the weights unit has stood ``waited`` cycles in all for lack of room."""
        self._ends.append(self.tail + size)
        self._times.append(cycle)
        self._waits.append(waited)
        self._changes.append((cycle, size))

    def release(self, size: int, cycle: int) -> None:
        """Bytes leave the head."""
        self.head += size
        if size:
            self._changes.append((cycle, -size))

    def when(self, need: int) -> int:
        """The cycle in which the first ``need`` bytes are there, which must be known."""
        return self._times[bisect_left(self._ends, need)]

    def late(self, need: int) -> int:
        """Cycles that the weights unit stood for lack of room over the ring's worth of bytes before ``need``.

        A ring of twice the size would have brought them so much earlier.
        """
        index = bisect_left(self._ends, need)
        before = bisect_left(self._ends, need - self._size)
        return self._waits[index] - (self._waits[before - 1] if before else 0)

    def held(self) -> list[tuple[int, int]]:
        """(cycle, bytes) wherever the bytes held changed."""
        changes = sorted(self._changes, key=lambda change: change[0])
        sums = accumulate(size for _, size in changes)
        found = dict(zip((cycle for cycle, _ in changes), sums, strict=True))
        return [(cycle, max(size, 0)) for cycle, size in found.items()]
