"""The weights and data units: instructions that transfer bytes to or from DRAM, in pieces.

The bytes of an instruction are requested as soon as the transfer of the previous one's last piece has begun, so the
latency shows once in a run of instructions. Only LOAD after STORE, or the other way round, waits until the previous
instruction has ended.
"""

from __future__ import annotations

from edgemtl.hw import timing
from edgemtl.hw.sim.cycle.instructions import Moved, ScheduledInstruction
from edgemtl.hw.sim.cycle.kernel import Kernel, whole
from edgemtl.hw.sim.cycle.memory import PIECE_BYTES, Memories
from edgemtl.hw.sim.cycle.ring import Ring
from edgemtl.hw.sim.cycle.tally import Recorder, Tally


class Mover:
    """One of the two units. ``ring``: the weight ring, which STREAM fills."""

    def __init__(self, unit: str, kernel: Kernel, memory: Memories, ring: Ring, recorder: Recorder) -> None:
        self._unit, self._kernel, self._memory, self._ring, self._recorder = unit, kernel, memory, ring, recorder
        self._instruction: ScheduledInstruction | None = None
        self._work = Moved("", 0, 0, 0, 0)
        self._tally = Tally(0)
        self._left = self._piece = self._start = self._free = self._end = self._waited = 0
        self._stands = False

    def wake(self, now: float) -> None:
        """Begin instructions that can, or request the piece that had no room."""
        if self._stands:
            self._ask(now)
        while self._instruction is None and self._begin(now):
            pass

    def standing(self) -> str | None:
        """What the unit waits for besides credits; None for nothing."""
        return f"{self._instruction} for room in the weight ring" if self._stands else None

    def _begin(self, now: float) -> bool:
        head = self._kernel.ready(self._unit)
        granted = self._kernel.granted(head[0]) if head else None
        if head is None or granted is None:
            return False
        (instruction, since), (token, source) = head, granted
        assert isinstance(instruction.work, Moved)
        if instruction.work.kind != self._work.kind and now < self._end:
            return False
        cycle = whole(now)
        self._kernel.take(instruction, cycle)
        tally = Tally(self._free if instruction.ahead else max(self._free, self._kernel.begins[instruction.frame]))
        tally.stand("queue", since)
        tally.stand(f"tokens:{source}", token)
        tally.stand("memory", cycle)
        self._instruction, self._work, self._tally = instruction, instruction.work, tally
        self._left, self._start = instruction.work.size, tally.clock
        if self._left:
            self._ask(now)
        else:
            self._close(instruction, tally.clock)
        return True

    def _ask(self, now: float) -> None:
        """Request the next piece if the ring has room for it, else stall until it has."""
        self._piece = min(PIECE_BYTES, self._left)
        if self._work.ring:
            self._stands = not self._ring.has_room(self._piece, self._work.ring)
            if self._stands:
                return
            before = self._tally.clock
            self._tally.stand("ring", whole(now))
            self._waited += self._tally.clock - before
            self._ring.asked += self._piece
        address = self._work.address_of(self._work.size - self._left)
        self._memory.ask(self._work.kind, self._piece, address, self._taken)

    def _taken(self, begin: float, end: float) -> None:
        instruction = self._instruction
        assert instruction is not None
        self._tally.stand("memory", whole(begin))
        self._tally.work(whole(end))
        come = whole(end + timing.MEMORY.cycles)
        self._left -= self._piece
        if self._work.ring:
            self._ring.come(self._piece, come, self._waited)
            self._kernel.wakes["matrix"](begin)
        if self._left:
            self._ask(begin)
        else:
            self._close(instruction, come)
            self.wake(begin)

    def _close(self, instruction: ScheduledInstruction, end: int) -> None:
        """End an instruction whose last piece is on its way, or that had none; instructions end in order."""
        self._end, self._free = max(end, self._end), self._tally.clock
        self._recorder.add(instruction, self._start, self._end, self._tally)
        self._kernel.finish(instruction, self._end)
        self._kernel.at(self._end, self.wake)
        self._instruction = None
