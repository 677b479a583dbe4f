"""Where the cycles of a unit went, and what becomes of them: spans, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.words import Word
from edgemtl.hw.sim.trace import Span


class Tally:
    """A unit's cycles from ``clock`` on: either it works or it stands for a reason, nothing is left out or twice."""

    def __init__(self, clock: int) -> None:
        self.clock, self.busy = clock, 0
        self.stalls: dict[str, int] = {}

    def stand(self, reason: str, until: int) -> None:
        """Stood until then, if that is later than the clock."""
        if until > self.clock:
            self.stalls[reason] = self.stalls.get(reason, 0) + until - self.clock
            self.clock = until

    def work(self, until: int) -> None:
        """Worked until then."""
        self.busy += until - self.clock
        self.clock = until


class Recorder:
    """Keeps the spans. After its last word of a frame a unit stands for its queue until the frame has ended."""

    def __init__(self, kernel: Kernel, frames: int) -> None:
        self._kernel = kernel
        self._made: list[list[tuple[Word, int, int, Tally]]] = [[] for _ in range(frames)]

    def add(self, word: Word, start: int, end: int, tally: Tally) -> None:
        """A word has run; ``tally`` is closed when the unit was free for the next one."""
        self._made[word.frame].append((word, start, end, tally))

    def spans(self, frame: int) -> tuple[Span, ...]:
        """All of a frame that has ended, in order of the stream."""
        made = sorted(self._made[frame], key=lambda item: item[0].place)
        last = {word.unit: tally for word, _, _, tally in made if word.unit != "weights"}
        for tally in last.values():
            tally.stand("queue", self._kernel.ends[frame])
        return tuple(_span(*item) for item in made)


def _span(word: Word, start: int, end: int, tally: Tally) -> Span:
    return Span(word.place, word.unit, start, end, tally.busy, tuple(tally.stalls.items()))


def busy_of(spans: Sequence[Span]) -> dict[str, int]:
    """Cycles at work by unit."""
    found: dict[str, int] = {}
    for span in spans:
        found[span.unit] = found.get(span.unit, 0) + span.busy
    return found
