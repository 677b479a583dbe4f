"""Memories on chip: bytes in granules, each byte with a note of whether it was ever written.

An index is int64 [rows, granules]: the granules of each row in the order of its bytes. What pads a row to whole
granules counts as not written after a write, as hardware promises nothing about it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.hazards import Index, Timeline, Watch

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def as_bytes(values: npt.NDArray[Any]) -> Bytes:
    """Little-endian bytes uint8 [rows, n] of integers [rows, n / their bytes]."""
    return np.ascontiguousarray(values).view(np.uint8)


class Memory:
    """A memory of ``granules`` of ``granule`` bytes. Without a timeline nobody looks after the order of accesses."""

    def __init__(self, name: str, granule: int, granules: int, timeline: Timeline | None) -> None:
        self.name, self.granule, self.granules = name, granule, granules
        self._data = np.zeros((granules, granule), np.uint8)
        self._written = np.zeros((granules, granule), np.bool_)
        self._watch = None if timeline is None else Watch(name, granules, timeline)

    def span(self, size: int) -> int:
        """Granules of a row of ``size`` bytes."""
        return -(-size // self.granule)

    def rows_at(self, first: int, rows: int | Index, stride: int, granules: int, apart: bool = True) -> Index:
        """The index of rows of ``granules`` side by side; ``rows`` is how many, or int64 [n], which ones.

        ``apart``: no two rows may hold a granule, as where they are written.
        Raises Fault for granules outside, and for more than rows that lie apart can have, before there is an index.
        """
        count, last = (rows, rows - 1) if isinstance(rows, int) else (len(rows), int(rows.max(initial=0)))
        if apart:
            self.check_count(count * granules)
        self._check_range(first, first + last * stride + granules - 1)
        which = np.arange(rows) if isinstance(rows, int) else rows
        return np.asarray(first + which[:, None] * stride + np.arange(granules))

    def tiles_at(self, first: int, rows: int, stride: int, tiles: int, tile_stride: int, granules: int) -> Index:
        """The index of rows cut into ``tiles`` of ``granules``, ``tile_stride`` from one to the next.

        Raises Fault as `rows_at` does.
        """
        self.check_count(rows * tiles * granules)
        self._check_range(first, first + (rows - 1) * stride + (tiles - 1) * tile_stride + granules - 1)
        starts = (first + np.arange(rows) * stride)[:, None, None] + np.arange(tiles)[:, None] * tile_stride
        return np.asarray((starts + np.arange(granules)).reshape(rows, tiles * granules))

    def check_count(self, granules: int) -> None:
        """Raise Fault for rows of more granules than there are: they would lie on each other."""
        if granules > self.granules:
            raise Fault(f"rows must take at most the {self.granules} granules of {self.name}, not {granules}")

    def read(self, at: Index, size: int, record: bool = True) -> Bytes:
        """The first ``size`` bytes of every row, uint8 [rows, size].

        Raises Fault for granules outside, for bytes never written, and for what `Watch.read` says.
        """
        data, written = self.read_loose(at, record)
        self.check_written(at, written, size)
        return data[:, :size]

    def read_loose(self, at: Index, record: bool = True) -> tuple[Bytes, Mask]:
        """Whole granules with their notes, both [rows, bytes]; the caller says which bytes matter."""
        self._check_inside(at)
        if self._watch is not None:
            self._watch.read(at, record)
        return self._data[at].reshape(len(at), -1), self._written[at].reshape(len(at), -1)

    def check_written(self, at: Index, written: Mask, size: int) -> None:
        """Raise Fault where one of the first ``size`` bytes of a row was never written."""
        if written[:, :size].all():
            return
        row, byte = (int(part[0]) for part in np.nonzero(~written[:, :size]))
        raise Fault(
            f"bytes read must have been written, and byte {byte % self.granule} of granule "
            f"{at[row, byte // self.granule]} of {self.name} never was; it reads {self._range(at)}"
        )

    def write(self, at: Index, values: Bytes, written: Mask | None = None, apart: bool = False) -> None:
        """Write rows of bytes [rows, n]; ``written`` [rows, n] marks those that hold something, all where None.

        Raises Fault for granules outside and for what `Watch.write` says.
        """
        self._check_inside(at)
        if self._watch is not None:
            self._watch.write(at, apart)
        size, whole = values.shape[1], at.shape[1] * self.granule
        mask = np.zeros((len(at), whole), np.bool_)
        mask[:, :size] = True if written is None else written
        padded = np.zeros((len(at), whole), np.uint8)
        padded[:, :size] = values
        self._data[at] = padded.reshape(*at.shape, self.granule)
        self._written[at] = mask.reshape(*at.shape, self.granule)

    def _check_inside(self, at: Index) -> None:
        if at.size:
            self._check_range(int(at.min()), int(at.max()))

    def _check_range(self, first: int, last: int) -> None:
        if first < 0 or last >= self.granules:
            needs = f"granules {first}..{last} of {self.granules} (a granule is {self.granule} bytes)"
            raise Fault(f"granules must lie in 0..{self.granules - 1} of {self.name}, and it needs {needs}")

    def _range(self, at: Index) -> str:
        return f"granules {at.min()}..{at.max()} of {self.granules} (a granule is {self.granule} bytes)"
