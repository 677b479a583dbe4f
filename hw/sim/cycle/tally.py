"""What each unit spent its cycles on, recorded as spans, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.hw.sim.cycle.instructions import ScheduledInstruction
from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.trace import Span


class Tally:
    """A unit's cycles from ``clock`` on: every cycle is counted once, as work or as a stall with a reason."""

    def __init__(self, clock: int) -> None:
        self.clock, self.busy = clock, 0
        self.stalls: dict[str, int] = {}

    def stand(self, reason: str, until: int) -> None:
        """Stall for ``reason`` until then, if that is later than the clock."""
        if until > self.clock:
            self.stalls[reason] = self.stalls.get(reason, 0) + until - self.clock
            self.clock = until

    def work(self, until: int) -> None:
        """Work until then."""
        self.busy += until - self.clock
        self.clock = until


class Recorder:
    """Records the spans. After its last instruction of a frame a unit stalls on its queue until the frame has ended."""

    def __init__(self, kernel: Kernel, frames: int) -> None:
        self._kernel = kernel
        self._records: list[list[tuple[ScheduledInstruction, int, int, Tally]]] = [[] for _ in range(frames)]

    def add(self, instruction: ScheduledInstruction, start: int, end: int, tally: Tally) -> None:
        """Record an instruction that has run; ``tally`` ends when the unit was free for the next one."""
        self._records[instruction.frame].append((instruction, start, end, tally))

    def spans(self, frame: int) -> tuple[Span, ...]:
        """All spans of a frame that has ended, in stream order."""
        records = sorted(self._records[frame], key=lambda item: item[0].place)
        last = {instruction.unit: tally for instruction, _, _, tally in records if instruction.unit != "weights"}
        for tally in last.values():
            tally.stand("queue", self._kernel.ends[frame])
        return tuple(_span(*item) for item in records)


def _span(instruction: ScheduledInstruction, start: int, end: int, tally: Tally) -> Span:
    return Span(instruction.place, instruction.unit, start, end, tally.busy, tuple(tally.stalls.items()))


def busy_of(spans: Sequence[Span]) -> dict[str, int]:
    """Cycles at work by unit."""
    busy: dict[str, int] = {}
    for span in spans:
        busy[span.unit] = busy.get(span.unit, 0) + span.busy
    return busy
