"""Time, queues and tokens: what the units share."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from edgemtl.hw.isa import UNITS
from edgemtl.hw.sim.cycle.words import Program, Word

QUEUE_WORDS: Final = 64
"""Words of a unit's queue."""
Wake = Callable[[float], None]


def whole(time: float) -> int:
    """The cycle in which something is there that came at ``time``; sums of fractions are off by far less than 1e-6."""
    return math.ceil(time - 1e-6)


class Kernel:
    """The clock and what units meet through. Units register in ``wakes`` and are woken when something came for them.

    begins: cycle in which each frame began that has; ends: in which each ended. A frame ends when every word has
    ended and the sequencer has taken END.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self.now = 0.0
        self.begins, self.ends = [0], list[int]()
        self.wakes: dict[str, Wake] = {}
        self.queues: dict[str, deque[tuple[Word, int]]] = {unit: deque() for unit in UNITS}
        self._held = dict.fromkeys(UNITS, 0)
        self._tokens: dict[tuple[str, str], deque[int]] = {(a, b): deque() for a in UNITS for b in UNITS}
        self._left = [len(program.words) + 1 for program in programs]
        self._events: list[tuple[float, int, Wake]] = []
        self._count = 0

    @property
    def frame(self) -> int:
        """The frame that runs now."""
        return len(self.ends)

    def at(self, time: float, call: Wake) -> None:
        """Call at ``time``, at once in order of asking where times are equal."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call))

    def run(self) -> None:
        """Until nothing more happens."""
        events = self._events
        while events:
            self.now, _, call = heapq.heappop(events)
            call(self.now)

    def has_room(self, unit: str) -> bool:
        """Whether the unit's queue takes a word more."""
        return self._held[unit] < QUEUE_WORDS

    def put(self, word: Word) -> None:
        """Dispatch a word now."""
        self._held[word.unit] += 1
        self.queues[word.unit].append((word, int(self.now)))
        self.wakes[word.unit](self.now)

    def ready(self, unit: str) -> tuple[Word, int] | None:
        """The unit's next word and the cycle since which it was there; None while its frame must still begin."""
        if not self.queues[unit]:
            return None
        word, since = self.queues[unit][0]
        if word.ahead:
            return word, since
        if word.frame > self.frame:
            return None
        return word, max(since, self.begins[word.frame])

    def missing(self, word: Word) -> list[str]:
        """Units whose tokens are not there."""
        return [unit for unit in word.waits if not self._tokens[unit, word.unit]]

    def granted(self, word: Word) -> tuple[int, str] | None:
        """When the last of the word's tokens came, and from which unit; None while one is missing."""
        if self.missing(word):
            return None
        return max(((self._tokens[unit, word.unit][0], unit) for unit in word.waits), default=(0, ""))

    def take(self, word: Word, start: int) -> None:
        """The unit's next word starts at ``start``: its tokens are taken, its place in the queue is free then."""
        for unit in word.waits:
            self._tokens[unit, word.unit].popleft()
        self.queues[word.unit].popleft()
        self.at(max(start, self.now), partial(self._freed, word.unit))

    def _freed(self, unit: str, now: float) -> None:
        self._held[unit] -= 1
        self.wakes["sequencer"](now)

    def finish(self, word: Word, end: int) -> None:
        """The word ends at ``end``, when it signals."""
        self.at(end, partial(self._finished, word))

    def _finished(self, word: Word, now: float) -> None:
        for unit in word.signals:
            self._tokens[word.unit, unit].append(int(now))
        self.count(word.frame)
        for unit in word.signals:
            self.wakes[unit](now)

    def count(self, frame: int) -> None:
        """One thing less to end in ``frame``."""
        self._left[frame] -= 1
        while self.frame < len(self._left) and not self._left[self.frame]:
            self.ends.append(int(self.now))
            self.begins.append(int(self.now))
            for unit in UNITS:
                self.at(self.now, self.wakes[unit])
