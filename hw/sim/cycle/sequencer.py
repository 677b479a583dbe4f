"""The sequencer: fetches streams ahead and dispatches instructions to the queues of their units, one per cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from edgemtl.hw import timing
from edgemtl.hw.isa import INSTRUCTION_BYTES, WINDOWS
from edgemtl.hw.sim.cycle.instructions import Program, ScheduledInstruction
from edgemtl.hw.sim.cycle.kernel import Kernel, whole
from edgemtl.hw.sim.cycle.memory import WINDOW_BYTES, Memories

AHEAD_INSTRUCTIONS: Final = 256
"""Instructions fetched and not yet dispatched, at most: four BRAMs of 256 bits."""
PIECE_INSTRUCTIONS: Final = 16
"""Instructions of one fetch: 512 bytes."""
STREAMS: Final = len(WINDOWS) * WINDOW_BYTES
"""The address of the first stream in DRAM, behind the windows."""

Item = ScheduledInstruction | int | None
"""An instruction for a unit, the number of the frame that END ends, or None for HEAD."""


class Sequencer:
    """All streams, one after the other; no fetch crosses from one stream into the next."""

    def __init__(self, programs: Sequence[Program], kernel: Kernel, memory: Memories) -> None:
        self._kernel, self._memory = kernel, memory
        self._items: deque[Item] = deque(item for program in enumerate(programs) for item in _items(*program))
        self._fetches: deque[int] = deque(
            size for program in programs for size in _pieces(len(program.instructions) + 2)
        )
        self._here = self._coming = self._fetched = 0
        self._last = -1
        self._planned = self._asked = False

    def start(self, now: float) -> None:
        """Fetch the first instructions."""
        self._fetch()

    def wake(self, now: float) -> None:
        """Plan the dispatch of the next instruction if it has arrived and its queue has room."""
        if self._planned or not self._here:
            return
        item = self._items[0]
        if not isinstance(item, ScheduledInstruction) or self._kernel.has_room(item.unit):
            self._planned = True
            self._kernel.at(max(whole(now), self._last + 1), self._dispatch)

    def standing(self) -> str | None:
        """What the sequencer waits for; None for nothing."""
        item = self._items[0] if self._items else None
        return (
            f"{item} for room in the queue of {item.unit}"
            if isinstance(item, ScheduledInstruction) and self._here
            else None
        )

    def _dispatch(self, now: float) -> None:
        item = self._items.popleft()
        self._here -= 1
        self._last, self._planned = int(now), False
        if isinstance(item, ScheduledInstruction):
            self._kernel.put(item)
        elif item is not None:
            self._kernel.count(item)
        self._fetch()
        self.wake(now)

    def _fetch(self) -> None:
        """Fetch the next piece if the buffer has room for it; one request is outstanding at a time."""
        if self._fetches and self._here + self._coming + self._fetches[0] <= AHEAD_INSTRUCTIONS and not self._asked:
            self._asked = True
            size = self._fetches[0] * INSTRUCTION_BYTES
            self._memory.ask("instructions", size, STREAMS + self._fetched, self._taken)
            self._fetched += size

    def _taken(self, begin: float, end: float) -> None:
        instructions = self._fetches.popleft()
        self._asked = False
        self._coming += instructions
        self._kernel.at(whole(end + timing.MEMORY.cycles), partial(self._come, instructions))
        self._fetch()

    def _come(self, instructions: int, now: float) -> None:
        self._coming -= instructions
        self._here += instructions
        self.wake(now)


def _items(number: int, program: Program) -> Iterator[Item]:
    yield None
    yield from program.instructions
    yield number


def _pieces(instructions: int) -> Iterator[int]:
    for first in range(0, instructions, PIECE_INSTRUCTIONS):
        yield min(PIECE_INSTRUCTIONS, instructions - first)
