"""Six units with queues and credits, one instruction executed at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from edgemtl.errors import UsageError
from edgemtl.hw.encoding import Stream, decode_stream
from edgemtl.hw.isa import UNITS, Instruction
from edgemtl.hw.sim.functional.attention import mix, scores, softmax
from edgemtl.hw.sim.functional.board import Windows
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.convolution import conv
from edgemtl.hw.sim.functional.credits import Credits
from edgemtl.hw.sim.functional.enlarge import classes, enlarge
from edgemtl.hw.sim.functional.faults import Fault, blame
from edgemtl.hw.sim.functional.hazards import Timeline
from edgemtl.hw.sim.functional.matrix import linear
from edgemtl.hw.sim.functional.pointwise import add, look_up, mean, rescale
from edgemtl.hw.sim.functional.readiness import lacking
from edgemtl.hw.sim.functional.route import route
from edgemtl.hw.sim.functional.transfers import load, store, stream
from edgemtl.hw.sim.functional.vector import combine, norm, open_sums, settle
from edgemtl.hw.spec import AcceleratorSpec

Pick = Callable[[Sequence[str]], str]
"""Chooses the next unit among those that can go on, given in the order of their instructions in the stream."""

EXECUTE: Final[Mapping[str, Callable[[Chip, Instruction], None]]] = MappingProxyType(
    {
        "LOAD": load,
        "STORE": store,
        "LINEAR": linear,
        "CONV": conv,
        "SCORES": scores,
        "SOFTMAX": softmax,
        "MIX": mix,
        "NORM": norm,
        "OPEN": open_sums,
        "COMBINE": combine,
        "SETTLE": settle,
        "ENLARGE": enlarge,
        "ADD": add,
        "MAP": look_up,
        "MEAN": mean,
        "CLASSES": classes,
        "RESCALE": rescale,
        "ROUTE": route,
    }
)


@dataclass(frozen=True)
class Result:
    """What a frame leaves besides the window `output`.

    routes: for each ROUTE with ``end``, in order, int32 [tokens, k]: the candidates chosen, counted from 0, the largest
    logit first.
    """

    routes: tuple[npt.NDArray[np.int32], ...]


def first_of(ready: Sequence[str]) -> str:
    """Stream order, as far as credits allow."""
    return ready[0]


def execute(
    program: bytes, spec: AcceleratorSpec, windows: Windows, check_hazards: bool = True, pick: Pick = first_of
) -> Result:
    """Run one frame of a stream; results are left in ``windows.output``.

    ``check_hazards``: accesses of two units to the same granule must be ordered by credits. ``pick`` may be anything:
    a stream without hazards gives the same bytes. Raises what `decode_stream` raises, and IntegrityError, with the
    instruction, for one that breaks a rule of the machine, for one that can never go on, for a hazard, and for credits
    or weights that are left at the end.
    """
    return execute_stream(decode_stream(program, spec.engine), spec, windows, check_hazards, pick)


def execute_stream(
    stream: Stream, spec: AcceleratorSpec, windows: Windows, check_hazards: bool = True, pick: Pick = first_of
) -> Result:
    """`execute` of a decoded stream."""
    machine = Machine(stream, spec, windows, check_hazards)
    while machine.busy:
        ready = machine.ready()
        if (unit := pick(ready)) not in ready:
            raise UsageError(
                f"pick must return one of {', '.join(ready)}, not {unit}; let it choose among its argument"
            )
        machine.step(unit)
    machine.check_end()
    return Result(machine.chip.router.routes)


class Machine:
    """The units over one frame."""

    def __init__(self, program: Stream, spec: AcceleratorSpec, windows: Windows, check_hazards: bool) -> None:
        self._timeline = Timeline()
        self.chip = Chip(spec.engine, program.ring_lines, windows, self._timeline if check_hazards else None)
        self._credits = Credits()
        self._program = program.instructions
        self._queues: dict[str, deque[int]] = {unit: deque() for unit in UNITS}
        for place, instruction in enumerate(self._program):
            self._queues[instruction.unit].append(place)

    @property
    def busy(self) -> bool:
        """Whether instructions are left."""
        return any(self._queues.values())

    def ready(self) -> list[str]:
        """Units that can go on, in the order of their instructions in the stream. Raises IntegrityError for none."""
        heads = sorted(queue[0] for queue in self._queues.values() if queue)
        lacks = {place: self._lacks(place) for place in heads}
        ready = [self._program[place].unit for place in heads if not lacks[place]]
        if not ready:
            others = "; ".join(f"{self._program[p].unit} stands at {p} and waits for {lacks[p]}" for p in heads[1:])
            why = f"an instruction must be able to go on, and this one waits for {lacks[heads[0]]} for ever"
            raise blame(heads[0], self._program[heads[0]], f"{why}; {others or 'no other unit has work'}")
        return ready

    def step(self, unit: str) -> None:
        """Execute the first instruction of a unit's queue."""
        place = self._queues[unit].popleft()
        instruction = self._program[place]
        self._timeline.begin(place, instruction, self._credits.take(instruction))
        try:
            if instruction.name == "STREAM":
                stream(self.chip, instruction, place)
            else:
                EXECUTE[instruction.name](self.chip, instruction)
        except Fault as fault:
            raise blame(place, instruction, fault) from fault
        self._credits.post(place, instruction, self._timeline.end())

    def check_end(self) -> None:
        """Raise IntegrityError for credits or weights that are left."""
        if (left := self._credits.left()) is not None:
            place, taker = left
            raise blame(place, self._program[place], f"its token must be taken by {taker} before END, and is not")
        if lines := self.chip.ring.level:
            place = self.chip.ring.left_by()
            why = f"the ring must be empty at END, and holds {lines} lines, the first of this instruction"
            raise blame(place, self._program[place], why)

    def _lacks(self, place: int) -> str:
        """What the instruction at ``place`` waits for; empty where it can go on."""
        instruction = self._program[place]
        if missing := self._credits.missing(instruction):
            return f"credits of {', '.join(missing)}"
        return lacking(self.chip, instruction)
