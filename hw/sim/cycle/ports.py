"""The ports of `input` where the array reads two tiles of a row at once, through both of them.

A cycle in which a NORM writes there is one in which the array takes no row. The matrix unit is simulated ahead of the
clock, so these cycles are known late: they delay the next instruction that it has not simulated yet, instead of the one
that they belong to.
"""

from __future__ import annotations


class InputPorts:
    """Cycles that writes took from reads. Reads and writes are each in order, and their cycles spread evenly."""

    def __init__(self) -> None:
        self._reads: list[tuple[int, int]] = []
        self._writes: list[tuple[int, int, int]] = []
        self._taken = 0

    def read(self, start: int, end: int) -> None:
        """The array reads through both ports from ``start`` to ``end``."""
        for first, last, cycles in self._writes:
            self._taken += _share(cycles, first, last, start, end)
        self._writes = [write for write in self._writes if write[1] > end]
        self._reads.append((start, end))

    def write(self, start: int, end: int, cycles: int) -> None:
        """So many ``cycles`` from ``start`` to ``end`` are writes."""
        self._reads = [read for read in self._reads if read[1] > start]
        self._taken += sum(_share(cycles, start, end, *read) for read in self._reads)
        self._writes.append((start, end, cycles))

    def take(self) -> int:
        """Cycles taken since the last call."""
        taken, self._taken = self._taken, 0
        return taken


def _share(cycles: int, first: int, last: int, start: int, end: int) -> int:
    """Of ``cycles`` between first and last those between start and end, rounded up."""
    overlap = max(min(last, end) - max(first, start), 0)
    return -(-cycles * overlap // (last - first))
