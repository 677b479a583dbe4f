"""The softmax, vector and router units: a word at a time, each a number of cycles."""

from __future__ import annotations

from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.tally import Recorder, Tally
from edgemtl.hw.sim.cycle.words import Timed


class RowUnit:
    """One of the three."""

    def __init__(self, unit: str, kernel: Kernel, recorder: Recorder) -> None:
        self._unit, self._kernel, self._recorder = unit, kernel, recorder
        self._free = 0

    def wake(self, now: float) -> None:
        """Begin the next word if it may."""
        while now >= self._free and self._begin(int(now)):
            pass

    def standing(self) -> str | None:
        """Nothing but tokens keeps these units."""
        return None

    def _begin(self, now: int) -> bool:
        head = self._kernel.ready(self._unit)
        granted = self._kernel.granted(head[0]) if head else None
        if head is None or granted is None:
            return False
        (word, since), (token, source) = head, granted
        assert isinstance(word.work, Timed)
        self._kernel.take(word, now)
        tally = Tally(max(self._free, self._kernel.begins[word.frame]))
        tally.stand("queue", since)
        tally.stand(f"tokens:{source}", token)
        self._free = now + word.work.cycles
        tally.work(self._free)
        self._recorder.add(word, now, self._free, tally)
        self._kernel.finish(word, self._free)
        self._kernel.at(self._free, self.wake)
        return True
