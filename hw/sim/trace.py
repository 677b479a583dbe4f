"""What the cycle simulator found out about one frame: when every instruction ran, why units stood, what was moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One instruction on its unit; ``start`` and ``end`` in cycles from the begin of the simulation.

    ``instruction`` is its place in the stream (0 is the first behind HEAD). ``busy`` cycles it worked of them.
    ``stalls``: cycles that the unit stood still before or during it, by reason: "tokens:<unit>" for results of another
    unit, "weights" for weights that had not come from memory, "load" for the width of the array's weight port, "ring"
    for room in the weight ring, "memory" for the memory itself, "queue" for an instruction that was not there yet.
    """

    instruction: int
    unit: str
    start: int
    end: int
    busy: int
    stalls: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Timing:
    """One frame. ``begin`` and ``end`` in cycles from the begin of the simulation: a frame begins when the frame
    before has ended, and ends when every unit has.

    macs: products that count, padding left out. busy: cycles by unit; for "matrix" tiles at work, for "memory" the
    board's memory. traffic: bytes by kind, "weights", "load", "store", "instructions". ring: (cycle, bytes held)
    where it changed. on_chip: bytes read and written by memory, "array" for weights loaded into it.
    """

    begin: int
    end: int
    macs: int
    spans: tuple[Span, ...]
    busy: Mapping[str, int]
    traffic: Mapping[str, int]
    ring: tuple[tuple[int, int], ...]
    on_chip: Mapping[str, int]

    @property
    def cycles(self) -> int:
        """From begin to end."""
        return self.end - self.begin
