"""The matrix unit, tile by tile.

An instruction is simulated as soon as everything it needs is known, which may be ahead of the clock: inside an
instruction only weights matter, and the cycle in which a piece of them arrives is known when its transfer begins.
"""

from __future__ import annotations

from functools import partial

from edgemtl.hw import timing
from edgemtl.hw.sim.cycle.instructions import ScheduledInstruction, Tiled
from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.ports import InputPorts
from edgemtl.hw.sim.cycle.ring import Ring
from edgemtl.hw.sim.cycle.tally import Recorder, Tally


class Matrix:
    """The matrix unit. ``_swap``: when the current tile began, and the next could begin to load. ``_free``: when the
    unit is free for the next instruction. ``_gathered``: when the last instruction that walked a queue started, and the
    next walk could begin. ``_need``: the ring bytes it waits for, 0 for none."""

    def __init__(self, kernel: Kernel, ring: Ring, recorder: Recorder, ports: InputPorts) -> None:
        self._kernel, self._ring, self._recorder, self._ports = kernel, ring, recorder, ports
        self._instruction: ScheduledInstruction | None = None
        self._tally = Tally(0)
        self._swap = self._free = self._end = self._start = self._gathered = self._tile = self._need = 0

    def wake(self, now: float) -> None:
        """Go on as far as instructions, credits and weights are known."""
        if self._need > self._ring.tail:
            return
        self._need = 0
        while self._instruction is not None or self._begin():
            instruction = self._instruction
            if instruction is not None:
                assert isinstance(instruction.work, Tiled)
                if not self._tiles(instruction.work):
                    return
                self._close(instruction, instruction.work)

    def standing(self) -> str | None:
        """What the unit waits for besides credits; None for nothing."""
        if not self._need:
            return None
        instruction = self._instruction or self._kernel.queues["matrix"][0][0]
        return f"{instruction} for bytes up to {self._need} of the weights, of which {self._ring.tail} have come"

    def _begin(self) -> bool:
        head = self._kernel.ready("matrix")
        granted = self._kernel.granted(head[0]) if head else None
        if head is None or granted is None:
            return False
        (instruction, since), (token, source) = head, granted
        work = instruction.work
        assert isinstance(work, Tiled)
        come = 0
        if work.tiles.needs:
            if not self._is_there(need := work.base + work.tiles.needs[0]):
                return False
            come = self._ring.when(need)
        tally = Tally(max(self._free, self._kernel.begins[instruction.frame]))
        self._free += self._ports.take()
        tally.stand("port", self._free)
        start = max(self._free, since, token)
        if work.walk:
            listed = self._kernel.credit_of(instruction, "router")
            start = max(start, max(self._gathered, since, listed) + work.walk)
        if work.tiles.loads:
            loading = max(self._swap, since, come if work.tiles.needs else token)
            start = max(start, loading + work.tiles.loads[0])
        tally.stand("queue", since)
        tally.stand(f"tokens:{source}", token)
        self._weights(tally, work, 0, come)
        tally.stand("load", start)
        self._kernel.take(instruction, start)
        self._instruction, self._tally, self._tile = instruction, tally, 0
        self._start = self._swap = start
        if work.walk:
            self._gathered = start
        return True

    def _is_there(self, need: int) -> bool:
        """Whether the arrival of ``need`` ring bytes is known; otherwise the unit waits for them."""
        self._need = need if need > self._ring.tail else 0
        return not self._need

    def _weights(self, tally: Tally, work: Tiled, tile: int, come: int) -> None:
        """Stall until the weights of a tile arrive; charged to the ring as far as a full ring delayed them."""
        if come > tally.clock:
            late = self._ring.late(work.base + work.tiles.needs[tile])
            tally.stand("ring", min(come, tally.clock + late))
            tally.stand("weights", come)

    def _tiles(self, work: Tiled) -> bool:
        """Work on the tiles after the current one; False where the arrival of weights is not known yet."""
        loads, needs, base, tally, ring = work.tiles.loads, work.tiles.needs, work.base, self._tally, self._ring
        cycles, swap, come = work.tile_cycles, self._swap, 0
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

    def _close(self, instruction: ScheduledInstruction, work: Tiled) -> None:
        """End an instruction whose last tile has begun, or that had none; instructions end in order."""
        self._free = self._swap
        if work.tiles.loads:
            self._free += work.tile_cycles
            self._end = max(self._end, self._swap + work.rows + work.refill + timing.MATRIX.cycles)
        if work.both_ports:
            self._ports.read(self._start, self._free)
        self._tally.work(self._free)
        self._end = max(self._end, self._free)
        self._recorder.add(instruction, self._start, self._end, self._tally)
        self._kernel.at(self._end, partial(self._release, work.release))
        self._kernel.finish(instruction, self._end)
        self._instruction = None

    def _release(self, size: int, now: float) -> None:
        if size:
            self._ring.release(size, int(now))
            self._kernel.wakes["weights"](now)
