"""Time, queues and credits: what the units share."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from edgemtl.hw.isa import UNITS
from edgemtl.hw.sim.cycle.instructions import Program, ScheduledInstruction

QUEUE_INSTRUCTIONS: Final = 64
"""Instructions that a unit's queue can hold."""
Wake = Callable[[float], None]


def whole(time: float) -> int:
    """The cycle in which something that arrives at ``time`` is there; rounding errors of sums are far below 1e-6."""
    return math.ceil(time - 1e-6)


class Kernel:
    """The clock, the queues and the credits. Units register in ``wakes`` and are woken when something arrives for them.

    begins, ends: the cycles in which frames began and ended, as far as they have. A frame ends when every instruction
    has ended and the sequencer has dispatched END.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self.now = 0.0
        self.begins, self.ends = [0], list[int]()
        self.wakes: dict[str, Wake] = {}
        self.queues: dict[str, deque[tuple[ScheduledInstruction, int]]] = {unit: deque() for unit in UNITS}
        self._queued = dict.fromkeys(UNITS, 0)
        self._credits: dict[tuple[str, str], deque[int]] = {(a, b): deque() for a in UNITS for b in UNITS}
        self._left = [len(program.instructions) + 1 for program in programs]
        self._events: list[tuple[float, int, Wake]] = []
        self._count = 0

    @property
    def frame(self) -> int:
        """The frame that runs now."""
        return len(self.ends)

    def at(self, time: float, call: Wake) -> None:
        """Call at ``time``; calls at equal times run in the order they were requested."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call))

    def run(self) -> None:
        """Run events until none is left."""
        events = self._events
        while events:
            self.now, _, call = heapq.heappop(events)
            call(self.now)

    def has_room(self, unit: str) -> bool:
        """Whether the unit's queue has room for one more instruction."""
        return self._queued[unit] < QUEUE_INSTRUCTIONS

    def put(self, instruction: ScheduledInstruction) -> None:
        """Dispatch an instruction now."""
        self._queued[instruction.unit] += 1
        self.queues[instruction.unit].append((instruction, int(self.now)))
        self.wakes[instruction.unit](self.now)

    def ready(self, unit: str) -> tuple[ScheduledInstruction, int] | None:
        """The unit's next instruction and the cycle in which it was ready; None while its frame has not begun."""
        if not self.queues[unit]:
            return None
        instruction, since = self.queues[unit][0]
        if instruction.ahead:
            return instruction, since
        if instruction.frame > self.frame:
            return None
        return instruction, max(since, self.begins[instruction.frame])

    def missing(self, instruction: ScheduledInstruction) -> list[str]:
        """Units whose credits the instruction still lacks."""
        return [unit for unit in instruction.waits if not self._credits[unit, instruction.unit]]

    def granted(self, instruction: ScheduledInstruction) -> tuple[int, str] | None:
        """When the last credit of the instruction arrived, and from which unit; None while one is missing."""
        if self.missing(instruction):
            return None
        return max(((self._credits[unit, instruction.unit][0], unit) for unit in instruction.waits), default=(0, ""))

    def credit_of(self, instruction: ScheduledInstruction, unit: str) -> int:
        """When the credit of ``unit`` arrived that the instruction waits for; 0 where it waits for none of it."""
        return self._credits[unit, instruction.unit][0] if unit in instruction.waits else 0

    def take(self, instruction: ScheduledInstruction, start: int) -> None:
        """Start the unit's next instruction at ``start``: consume its credits, and free its queue entry then."""
        for unit in instruction.waits:
            self._credits[unit, instruction.unit].popleft()
        self.queues[instruction.unit].popleft()
        self.at(max(start, self.now), partial(self._freed, instruction.unit))

    def _freed(self, unit: str, now: float) -> None:
        self._queued[unit] -= 1
        self.wakes["sequencer"](now)

    def finish(self, instruction: ScheduledInstruction, end: int) -> None:
        """End the instruction at ``end``, when it posts its credits."""
        self.at(end, partial(self._finished, instruction))

    def _finished(self, instruction: ScheduledInstruction, now: float) -> None:
        for unit in instruction.signals:
            self._credits[instruction.unit, unit].append(int(now))
        self.count(instruction.frame)
        for unit in instruction.signals:
            self.wakes[unit](now)

    def count(self, frame: int) -> None:
        """Count one instruction of ``frame`` as ended."""
        self._left[frame] -= 1
        while self.frame < len(self._left) and not self._left[self.frame]:
            self.ends.append(int(self.now))
            self.begins.append(int(self.now))
            for unit in UNITS:
                self.at(self.now, self.wakes[unit])
