"""The matrix unit, tile by tile.

A word is worked through as soon as what it needs is known, which may be ahead of the clock: inside a word only weights
decide, and the cycle in which a piece of them comes is known when the memory begins it.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.ring import Ring
from edgemtl.hw.sim.cycle.tally import Recorder, Tally
from edgemtl.hw.sim.cycle.words import Tiled, Word

LATENCY: Final = 40
"""Cycles from the last row of a word to its result; the array built in RTL had so many."""
LEAST_CYCLES: Final = 4
"""Of a tile, however few rows it has."""


class Matrix:
    """State between tiles: ``_swap``, when the tile at work began and the next could begin to load; ``_free``, when it
    is through; ``_need``, bytes of the ring that it stands for, 0 for none."""

    def __init__(self, kernel: Kernel, ring: Ring, recorder: Recorder) -> None:
        self._kernel, self._ring, self._recorder = kernel, ring, recorder
        self._word: Word | None = None
        self._tally = Tally(0)
        self._swap = self._free = self._end = self._start = self._tile = self._need = 0

    def wake(self, now: float) -> None:
        """Go on as far as words, tokens and weights are known."""
        if self._need > self._ring.tail:
            return
        self._need = 0
        while self._word is not None or self._begin():
            word = self._word
            if word is not None:
                assert isinstance(word.work, Tiled)
                if not self._tiles(word.work):
                    return
                self._close(word, word.work)

    def standing(self) -> str | None:
        """What the unit cannot go on for."""
        if not self._need:
            return None
        word = self._word or self._kernel.queues["matrix"][0][0]
        return f"{word} for bytes up to {self._need} of the weights, of which {self._ring.tail} have come"

    def _begin(self) -> bool:
        head = self._kernel.ready("matrix")
        granted = self._kernel.granted(head[0]) if head else None
        if head is None or granted is None:
            return False
        (word, since), (token, source) = head, granted
        work = word.work
        assert isinstance(work, Tiled)
        come = 0
        if work.tiles.needs:
            if not self._is_there(need := work.base + work.tiles.needs[0]):
                return False
            come = self._ring.when(need)
        start = max(self._free, since, token)
        if work.tiles.loads:
            loading = max(self._swap, since, come if work.tiles.needs else token)
            start = max(start, loading + work.tiles.loads[0])
        tally = Tally(max(self._free, self._kernel.begins[word.frame]))
        tally.stand("queue", since)
        tally.stand(f"tokens:{source}", token)
        self._weights(tally, work, 0, come)
        tally.stand("load", start)
        self._kernel.take(word, start)
        self._word, self._tally, self._tile = word, tally, 0
        self._start = self._swap = start
        return True

    def _is_there(self, need: int) -> bool:
        """Whether it is known when ``need`` bytes of the ring come; else the unit stands for them."""
        self._need = need if need > self._ring.tail else 0
        return not self._need

    def _weights(self, tally: Tally, work: Tiled, tile: int, come: int) -> None:
        """Stand until the weights of a tile come; for the ring as far as that is why they came late."""
        if come > tally.clock:
            late = self._ring.late(work.base + work.tiles.needs[tile])
            tally.stand("ring", min(come, tally.clock + late))
            tally.stand("weights", come)

    def _tiles(self, work: Tiled) -> bool:
        """Work on tiles from the one that has begun to the last; False where weights are not known to come."""
        loads, needs, base, tally, ring = work.tiles.loads, work.tiles.needs, work.base, self._tally, self._ring
        cycles, swap, come = max(work.rows, LEAST_CYCLES), self._swap, 0
        for tile in range(self._tile + 1, len(loads)):
            if needs:
                if not self._is_there(need := base + needs[tile]):
                    self._swap, self._tile = swap, tile - 1
                    return False
                come = ring.when(need)
            through = swap + cycles
            swap = max(through, (come if come > swap else swap) + loads[tile])
            if swap > through:
                tally.work(through)
                self._weights(tally, work, tile, come)
                tally.stand("load", swap)
        self._swap = swap
        return True

    def _close(self, word: Word, work: Tiled) -> None:
        """The last tile has begun, or there was none; words end in order, with work or without."""
        self._free = self._swap
        if work.tiles.loads:
            self._free += max(work.rows, LEAST_CYCLES)
            self._end = max(self._end, self._swap + work.rows + LATENCY)
        self._tally.work(self._free)
        self._end = max(self._end, self._free)
        self._recorder.add(word, self._start, self._end, self._tally)
        self._kernel.at(self._end, partial(self._release, work.release))
        self._kernel.finish(word, self._end)
        self._word = None

    def _release(self, size: int, now: float) -> None:
        if size:
            self._ring.release(size, int(now))
            self._kernel.wakes["weights"](now)
