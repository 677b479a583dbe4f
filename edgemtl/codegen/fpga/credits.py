"""Which instructions wait for which: the fewest credits that preserve the meaning of program order.

An instruction must not start before every earlier one has ended that writes what it reads, or reads or writes what it
writes. Instructions of one unit stay in order anyway, except that the matrix unit starts an instruction while results
of the previous one are still in its pipeline. For each pair of units only the last instruction waited for matters, and
only where no other credit implies it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemtl.codegen.fpga.instructions import PendingInstruction, RowRange
from edgemtl.hw.isa import BY_NAME, REGIONS, UNITS

Indices = npt.NDArray[np.int64]
NOBODY = -1
Where = Indices | slice
"""Granules of a region."""


@dataclass
class _Memory:
    """For each unit and granule: the instruction that wrote it, where no other unit has since, and the last reader."""

    writers: Indices
    readers: Indices

    @classmethod
    def of(cls, granules: int) -> _Memory:
        return cls(*(np.full((len(UNITS), granules), NOBODY) for _ in range(2)))


@dataclass(frozen=True)
class Credits:
    """For each instruction, the units it waits for and those it signals."""

    waits: tuple[frozenset[str], ...]
    signals: tuple[frozenset[str], ...]


def synchronise(
    instructions: Sequence[PendingInstruction], granules: Mapping[str, int], addresses: Mapping[str, int]
) -> Credits:
    """The credits of a stream; ``granules`` of each region, ``addresses`` of each buffer in its region."""
    units = [UNITS.index(BY_NAME[instruction.name].unit) for instruction in instructions]
    waits: list[set[str]] = [set() for _ in instructions]
    signals: list[set[str]] = [set() for _ in instructions]
    known = _Known()
    for index, needed in enumerate(_dependencies(instructions, units, granules, addresses)):
        me = units[index]
        for unit, other in known.missing(index, me, needed):
            waits[index].add(UNITS[unit])
            signals[other].add(UNITS[me])
    return Credits(tuple(map(frozenset, waits)), tuple(map(frozenset, signals)))


class _Known:
    """For each unit, the last instruction of every unit that has certainly ended when it starts its next one."""

    def __init__(self) -> None:
        self._at_begin: dict[int, Indices] = {}
        self._of_unit = [np.full(len(UNITS), NOBODY) for _ in UNITS]

    def missing(self, index: int, own: int, needed: Indices) -> list[tuple[int, int]]:
        """(unit, instruction) that an instruction of unit ``own`` must wait for and does not know to have ended."""
        clock = self._of_unit[own].copy()
        needed_credits = []
        for unit in np.argsort(-needed, kind="stable"):
            if needed[unit] > clock[unit]:
                other = int(needed[unit])
                needed_credits.append((int(unit), other))
                clock = np.maximum(clock, self._at_begin[other])
                clock[unit] = other
        self._at_begin[index] = clock
        after = clock.copy()
        if UNITS[own] != "matrix":
            after[own] = index
        self._of_unit[own] = after
        return needed_credits


def _dependencies(
    instructions: Sequence[PendingInstruction],
    units: Sequence[int],
    granules: Mapping[str, int],
    addresses: Mapping[str, int],
) -> Iterator[Indices]:
    """For each instruction, the last instruction of each unit that must end before it starts."""
    memories = {name: _Memory.of(granules[name]) for name in REGIONS}
    states: dict[str, _Memory] = {}
    one = slice(0, 1)
    for index, (instruction, me) in enumerate(zip(instructions, units, strict=True)):
        needed = np.full(len(UNITS), NOBODY)
        reads: list[tuple[_Memory, Where]]
        reads = [(memories[r.at.buffer.region], granules_of(r, addresses)) for r in instruction.reads]
        writes: list[tuple[_Memory, Where]]
        writes = [(memories[r.at.buffer.region], granules_of(r, addresses)) for r in instruction.writes]
        reads += [(states.setdefault(name, _Memory.of(1)), one) for name in instruction.read_states]
        writes += [(states.setdefault(name, _Memory.of(1)), one) for name in instruction.written_states]
        for memory, where in reads:
            np.maximum(needed, memory.writers[:, where].max(axis=1, initial=NOBODY), out=needed)
        own = needed[me] if UNITS[me] == "matrix" else NOBODY
        for memory, where in writes:
            np.maximum(needed, memory.writers[:, where].max(axis=1, initial=NOBODY), out=needed)
            np.maximum(needed, memory.readers[:, where].max(axis=1, initial=NOBODY), out=needed)
        # A unit executes in order, so it need not wait for itself, except for results in the matrix unit's pipeline.
        needed[me] = own
        for memory, where in reads:
            memory.readers[me, where] = index
        for memory, where in writes:
            memory.writers[:, where] = NOBODY
            memory.writers[me, where] = index
            memory.readers[:, where] = NOBODY
        yield needed


def granules_of(rows: RowRange, addresses: Mapping[str, int]) -> Where:
    """The granules of a region that some rows of a buffer occupy."""
    start = addresses[rows.at.buffer.name] + rows.at.granule
    if rows.stride == rows.size:
        return slice(start, start + rows.rows * rows.size)
    first = start + rows.stride * np.arange(rows.rows)
    return np.asarray((first[:, None] + np.arange(rows.size)).reshape(-1))
