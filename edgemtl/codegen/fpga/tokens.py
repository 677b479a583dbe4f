"""Which words wait for which: from what each reads and writes, to the fewest tokens that keep program order's meaning.

A word must not run before another one ends that writes what it reads, or reads or writes what it writes. Words of one
unit keep their order anyway, except that the matrix unit begins a word while results of the one before are still on
their way. For each pair of units only the last word waited for counts, and only where no other token says as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemtl.codegen.fpga.words import Rows, Word
from edgemtl.hw.isa import BY_NAME, REGIONS, UNITS

Indices = npt.NDArray[np.int64]
NOBODY = -1
Where = Indices | slice
"""Granules of a region."""


@dataclass
class _Memory:
    """For each unit and granule: the word that wrote it, if that was the last to, and the last that read it since."""

    writers: Indices
    readers: Indices

    @classmethod
    def of(cls, granules: int) -> _Memory:
        return cls(*(np.full((len(UNITS), granules), NOBODY) for _ in range(2)))


@dataclass(frozen=True)
class Tokens:
    """For each word, the units it waits for and those it signals."""

    waits: tuple[frozenset[str], ...]
    signals: tuple[frozenset[str], ...]


def synchronise(words: Sequence[Word], granules: Mapping[str, int], addresses: Mapping[str, int]) -> Tokens:
    """The tokens of a stream; ``granules`` of each region, ``addresses`` of each buffer in its region."""
    units = [UNITS.index(BY_NAME[word.name].unit) for word in words]
    waits: list[set[str]] = [set() for _ in words]
    signals: list[set[str]] = [set() for _ in words]
    known = _Known()
    for index, needed in enumerate(_dependencies(words, units, granules, addresses)):
        me = units[index]
        for unit, other in known.missing(index, me, needed):
            waits[index].add(UNITS[unit])
            signals[other].add(UNITS[me])
    return Tokens(tuple(map(frozenset, waits)), tuple(map(frozenset, signals)))


class _Known:
    """What each unit knows to have ended when it begins a word: the last such word of every unit."""

    def __init__(self) -> None:
        self._at_begin: dict[int, Indices] = {}
        self._of_unit = [np.full(len(UNITS), NOBODY) for _ in UNITS]

    def missing(self, index: int, me: int, needed: Indices) -> list[tuple[int, int]]:
        """(unit, word) that a word of unit ``me`` must wait for, beyond what it knows; then it knows them."""
        clock = self._of_unit[me].copy()
        found = []
        for unit in np.argsort(-needed, kind="stable"):
            if needed[unit] > clock[unit]:
                other = int(needed[unit])
                found.append((int(unit), other))
                clock = np.maximum(clock, self._at_begin[other])
                clock[unit] = other
        self._at_begin[index] = clock
        after = clock.copy()
        if UNITS[me] != "matrix":
            after[me] = index
        self._of_unit[me] = after
        return found


def _dependencies(
    words: Sequence[Word], units: Sequence[int], granules: Mapping[str, int], addresses: Mapping[str, int]
) -> Iterator[Indices]:
    """For each word, the last word of each unit that must end before it begins."""
    memories = {name: _Memory.of(granules[name]) for name in REGIONS}
    states: dict[str, _Memory] = {}
    one = slice(0, 1)
    for index, (word, me) in enumerate(zip(words, units, strict=True)):
        needed = np.full(len(UNITS), NOBODY)
        reads: list[tuple[_Memory, Where]]
        reads = [(memories[r.at.buffer.region], places(r, addresses)) for r in word.reads]
        writes: list[tuple[_Memory, Where]]
        writes = [(memories[r.at.buffer.region], places(r, addresses)) for r in word.writes]
        reads += [(states.setdefault(name, _Memory.of(1)), one) for name in word.read_states]
        writes += [(states.setdefault(name, _Memory.of(1)), one) for name in word.written_states]
        for memory, where in reads:
            np.maximum(needed, memory.writers[:, where].max(axis=1, initial=NOBODY), out=needed)
        own = needed[me] if UNITS[me] == "matrix" else NOBODY
        for memory, where in writes:
            np.maximum(needed, memory.writers[:, where].max(axis=1, initial=NOBODY), out=needed)
            np.maximum(needed, memory.readers[:, where].max(axis=1, initial=NOBODY), out=needed)
        # What a unit wrote or read itself before is done in order; results on their way in the matrix unit are not.
        needed[me] = own
        for memory, where in reads:
            memory.readers[me, where] = index
        for memory, where in writes:
            memory.writers[:, where] = NOBODY
            memory.writers[me, where] = index
            memory.readers[:, where] = NOBODY
        yield needed


def places(rows: Rows, addresses: Mapping[str, int]) -> Where:
    """The granules of a region that some rows of a buffer take."""
    start = addresses[rows.at.buffer.name] + rows.at.granule
    if rows.stride == rows.size:
        return slice(start, start + rows.rows * rows.size)
    first = start + rows.stride * np.arange(rows.rows)
    return np.asarray((first[:, None] + np.arange(rows.size)).reshape(-1))
