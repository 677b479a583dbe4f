"""The weights and data units: words that are bytes through the board's memory, in pieces.

A word's bytes are asked for as soon as those of the word before have begun to leave the memory, so the latency shows
once in a row of words; only LOAD after STORE, or the other way round, waits until the word before has ended.
"""

from __future__ import annotations

from edgemtl.hw.sim.cycle.kernel import Kernel, whole
from edgemtl.hw.sim.cycle.memory import LATENCY, PIECE_BYTES, Memory
from edgemtl.hw.sim.cycle.ring import Ring
from edgemtl.hw.sim.cycle.tally import Recorder, Tally
from edgemtl.hw.sim.cycle.words import Moved, Word


class Mover:
    """One of the two units. ``ring`` is where ringed words go."""

    def __init__(self, unit: str, kernel: Kernel, memory: Memory, ring: Ring, recorder: Recorder) -> None:
        self._unit, self._kernel, self._memory, self._ring, self._recorder = unit, kernel, memory, ring, recorder
        self._word: Word | None = None
        self._work = Moved("", 0, 0)
        self._tally = Tally(0)
        self._left = self._piece = self._start = self._free = self._end = self._waited = 0
        self._stands = False

    def wake(self, now: float) -> None:
        """Begin words that can, or ask for the piece that had no room."""
        if self._stands:
            self._ask(now)
        while self._word is None and self._begin(now):
            pass

    def standing(self) -> str | None:
        """What the unit cannot go on for."""
        return f"{self._word} for room in the weight ring" if self._stands else None

    def _begin(self, now: float) -> bool:
        head = self._kernel.ready(self._unit)
        granted = self._kernel.granted(head[0]) if head else None
        if head is None or granted is None:
            return False
        (word, since), (token, source) = head, granted
        assert isinstance(word.work, Moved)
        if word.work.kind != self._work.kind and now < self._end:
            return False
        cycle = whole(now)
        self._kernel.take(word, cycle)
        tally = Tally(self._free if word.ahead else max(self._free, self._kernel.begins[word.frame]))
        tally.stand("queue", since)
        tally.stand(f"tokens:{source}", token)
        tally.stand("memory", cycle)
        self._word, self._work, self._tally = word, word.work, tally
        self._left, self._start = word.work.size, tally.clock
        if self._left:
            self._ask(now)
        else:
            self._close(word, tally.clock)
        return True

    def _ask(self, now: float) -> None:
        """Ask for the next piece if the ring has room for it, else stand until it has."""
        self._piece = min(PIECE_BYTES, self._left)
        if self._work.ring:
            self._stands = not self._ring.has_room(self._piece, self._work.ring)
            if self._stands:
                return
            before = self._tally.clock
            self._tally.stand("ring", whole(now))
            self._waited += self._tally.clock - before
            self._ring.asked += self._piece
        self._memory.ask(self._work.kind, self._piece, self._taken)

    def _taken(self, begin: float, end: float) -> None:
        word = self._word
        assert word is not None
        self._tally.stand("memory", whole(begin))
        self._tally.work(whole(end))
        come = whole(end + LATENCY)
        self._left -= self._piece
        if self._work.ring:
            self._ring.come(self._piece, come, self._waited)
            self._kernel.wakes["matrix"](begin)
        if self._left:
            self._ask(begin)
        else:
            self._close(word, come)
            self.wake(begin)

    def _close(self, word: Word, end: int) -> None:
        """The last piece is on its way, or there was none; words end in order."""
        self._end, self._free = max(end, self._end), self._tally.clock
        self._recorder.add(word, self._start, self._end, self._tally)
        self._kernel.finish(word, self._end)
        self._kernel.at(self._end, self.wake)
        self._word = None
