"""The sequencer: fetches streams ahead and gives every word to its unit's queue, one a cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from edgemtl.hw.isa import WORD_BYTES
from edgemtl.hw.sim.cycle.kernel import Kernel, whole
from edgemtl.hw.sim.cycle.memory import LATENCY, Memory
from edgemtl.hw.sim.cycle.words import Program, Word

AHEAD_WORDS: Final = 256
"""Words fetched and not yet dispatched: four BRAMs at 256 bits."""
PIECE_WORDS: Final = 16
"""Words of one fetch: 512 bytes."""

Item = Word | int | None
"""A word for a unit, the number of the frame that END ends, or None for HEAD."""


class Sequencer:
    """All streams, one behind the other; no fetch crosses from one into the next."""

    def __init__(self, programs: Sequence[Program], kernel: Kernel, memory: Memory) -> None:
        self._kernel, self._memory = kernel, memory
        self._items: deque[Item] = deque(item for program in enumerate(programs) for item in _items(*program))
        self._fetches: deque[int] = deque(size for program in programs for size in _pieces(len(program.words) + 2))
        self._here = self._coming = 0
        self._last = -1
        self._planned = self._asked = False

    def start(self, now: float) -> None:
        """Ask for the first words."""
        self._fetch()

    def wake(self, now: float) -> None:
        """Plan the next word's dispatch if it is here and its queue has room."""
        if self._planned or not self._here:
            return
        item = self._items[0]
        if not isinstance(item, Word) or self._kernel.has_room(item.unit):
            self._planned = True
            self._kernel.at(max(whole(now), self._last + 1), self._dispatch)

    def standing(self) -> str | None:
        """What the sequencer cannot go on for."""
        item = self._items[0] if self._items else None
        return f"{item} for room in the queue of {item.unit}" if isinstance(item, Word) and self._here else None

    def _dispatch(self, now: float) -> None:
        item = self._items.popleft()
        self._here -= 1
        self._last, self._planned = int(now), False
        if isinstance(item, Word):
            self._kernel.put(item)
        elif item is not None:
            self._kernel.count(item)
        self._fetch()
        self.wake(now)

    def _fetch(self) -> None:
        """Ask for the next piece if what is fetched leaves room for it; one is on its way to the memory at a time."""
        if self._fetches and self._here + self._coming + self._fetches[0] <= AHEAD_WORDS and not self._asked:
            self._asked = True
            self._memory.ask("instructions", self._fetches[0] * WORD_BYTES, self._taken)

    def _taken(self, begin: float, end: float) -> None:
        words = self._fetches.popleft()
        self._asked = False
        self._coming += words
        self._kernel.at(whole(end + LATENCY), partial(self._come, words))
        self._fetch()

    def _come(self, words: int, now: float) -> None:
        self._coming -= words
        self._here += words
        self.wake(now)


def _items(number: int, program: Program) -> Iterator[Item]:
    yield None
    yield from program.words
    yield number


def _pieces(words: int) -> Iterator[int]:
    for first in range(0, words, PIECE_WORDS):
        yield min(PIECE_WORDS, words - first)
