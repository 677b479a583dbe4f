"""All units together: frames in, timings out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgemtl.errors import IntegrityError
from edgemtl.hw.isa import INSTRUCTION_BYTES, UNITS
from edgemtl.hw.sim.cycle.instructions import Program
from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.matrix import Matrix
from edgemtl.hw.sim.cycle.memory import Memories, Transfers
from edgemtl.hw.sim.cycle.mover import Mover
from edgemtl.hw.sim.cycle.ports import InputPorts
from edgemtl.hw.sim.cycle.ring import Ring
from edgemtl.hw.sim.cycle.rows import RowUnit
from edgemtl.hw.sim.cycle.sequencer import Sequencer
from edgemtl.hw.sim.cycle.tally import Recorder, busy_of
from edgemtl.hw.sim.trace import Timing


class Unit(Protocol):
    """What the machine asks of a unit."""

    def wake(self, now: float) -> None:
        """Called when something has arrived for the unit."""

    def standing(self) -> str | None:
        """What the unit waits for besides credits; None for nothing."""


class Machine:
    """The accelerator with its DRAM, of ``rate`` bytes per cycle in all; runs programs one after the other."""

    def __init__(self, programs: Sequence[Program], memories: Sequence[Transfers], rate: float) -> None:
        self._programs, self._rate = programs, rate
        self._kernel = Kernel(programs)
        self._ring = Ring()
        self._recorder = Recorder(self._kernel, len(programs))
        memory, ports = Memories(self._kernel, memories), InputPorts()
        sequencer = Sequencer(programs, self._kernel, memory)
        self._units: dict[str, Unit] = {
            "sequencer": sequencer,
            "matrix": Matrix(self._kernel, self._ring, self._recorder, ports),
        }
        for unit in ("weights", "data"):
            self._units[unit] = Mover(unit, self._kernel, memory, self._ring, self._recorder)
        for unit in ("softmax", "vector", "router"):
            self._units[unit] = RowUnit(unit, self._kernel, self._recorder, ports)
        self._kernel.wakes = {name: unit.wake for name, unit in self._units.items()}
        self._kernel.at(0, sequencer.start)

    def run(self) -> tuple[Timing, ...]:
        """The timing of every frame. Raises IntegrityError for a deadlock."""
        self._kernel.run()
        if len(self._kernel.ends) < len(self._programs):
            raise IntegrityError(
                f"the stream must run to its END, not stand still at cycle {int(self._kernel.now)}; "
                f"look at what waits: {'; '.join(self._waiting())}"
            )
        levels = self._ring.levels()
        return tuple(self._timing(frame, levels) for frame in range(len(self._programs)))

    def _waiting(self) -> list[str]:
        reasons = [text for unit in self._units.values() if (text := unit.standing())]
        for unit in UNITS:
            head = self._kernel.ready(unit)
            if head and (missing := self._kernel.missing(head[0])):
                reasons.append(f"{head[0]} for credits of {', '.join(missing)}")
        return reasons

    def _timing(self, frame: int, levels: list[tuple[int, int]]) -> Timing:
        program, spans = self._programs[frame], self._recorder.spans(frame)
        traffic = {**program.traffic, "instructions": (len(program.instructions) + 2) * INSTRUCTION_BYTES}
        begin, end = self._kernel.begins[frame], self._kernel.ends[frame]
        last = frame == len(self._programs) - 1
        ring = tuple(change for change in levels if begin <= change[0] < end or (last and change[0] >= end))
        busy = busy_of(spans) | {"memory": round(sum(traffic.values()) / self._rate)}
        return Timing(begin, end, program.macs, spans, busy, traffic, ring, dict(program.on_chip))
