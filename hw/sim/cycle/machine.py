"""All units together: frames in, timings out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgemtl.errors import IntegrityError
from edgemtl.hw.isa import UNITS, WORD_BYTES
from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.matrix import Matrix
from edgemtl.hw.sim.cycle.memory import Memory
from edgemtl.hw.sim.cycle.mover import Mover
from edgemtl.hw.sim.cycle.ring import Ring
from edgemtl.hw.sim.cycle.rows import RowUnit
from edgemtl.hw.sim.cycle.sequencer import Sequencer
from edgemtl.hw.sim.cycle.tally import Recorder, busy_of
from edgemtl.hw.sim.cycle.words import Program
from edgemtl.hw.sim.trace import Timing


class Unit(Protocol):
    """What the machine asks of a unit."""

    def wake(self, now: float) -> None:
        """Something came for it."""

    def standing(self) -> str | None:
        """What it cannot go on for, beside tokens."""


class Machine:
    """The accelerator at a memory of ``rate`` bytes a cycle, with programs that follow each other."""

    def __init__(self, programs: Sequence[Program], rate: float) -> None:
        self._programs, self._rate = programs, rate
        self._kernel = Kernel(programs)
        self._ring = Ring()
        self._recorder = Recorder(self._kernel, len(programs))
        memory = Memory(self._kernel, rate)
        sequencer = Sequencer(programs, self._kernel, memory)
        self._units: dict[str, Unit] = {
            "sequencer": sequencer,
            "matrix": Matrix(self._kernel, self._ring, self._recorder),
        }
        for unit in ("weights", "data"):
            self._units[unit] = Mover(unit, self._kernel, memory, self._ring, self._recorder)
        for unit in ("softmax", "vector", "router"):
            self._units[unit] = RowUnit(unit, self._kernel, self._recorder)
        self._kernel.wakes = {name: unit.wake for name, unit in self._units.items()}
        self._kernel.at(0, sequencer.start)

    def run(self) -> tuple[Timing, ...]:
        """Every frame's timing. Raises IntegrityError where words wait for what never comes."""
        self._kernel.run()
        if len(self._kernel.ends) < len(self._programs):
            raise IntegrityError(
                f"the stream must run to its END, not stand still at cycle {int(self._kernel.now)}; "
                f"look at what waits: {'; '.join(self._waiting())}"
            )
        held = self._ring.held()
        return tuple(self._timing(frame, held) for frame in range(len(self._programs)))

    def _waiting(self) -> list[str]:
        found = [text for unit in self._units.values() if (text := unit.standing())]
        for unit in UNITS:
            head = self._kernel.ready(unit)
            if head and (missing := self._kernel.missing(head[0])):
                found.append(f"{head[0]} for tokens of {', '.join(missing)}")
        return found

    def _timing(self, frame: int, held: list[tuple[int, int]]) -> Timing:
        program, spans = self._programs[frame], self._recorder.spans(frame)
        traffic = {**program.traffic, "instructions": (len(program.words) + 2) * WORD_BYTES}
        begin, end = self._kernel.begins[frame], self._kernel.ends[frame]
        last = frame == len(self._programs) - 1
        ring = tuple(change for change in held if begin <= change[0] < end or (last and change[0] >= end))
        busy = busy_of(spans) | {"memory": round(sum(traffic.values()) / self._rate)}
        return Timing(begin, end, program.macs, spans, busy, traffic, ring, dict(program.on_chip))
