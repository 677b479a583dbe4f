"""The cycle simulator's result for one frame: when every instruction ran, why units stalled, and the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One instruction on its unit; ``start`` and ``end`` in cycles from the start of the simulation.

    ``instruction``: its index in the stream, 0 is the first after HEAD. ``busy``: the cycles it worked. ``stalls``:
    cycles that the unit stalled before or during it, by reason: "tokens:<unit>" for credits of another unit, "weights"
    for weights that had not arrived from DRAM, "load" for the width of the array's weight port, "ring" for room in the
    weight ring, "port" for ports of `input`, "memory" for DRAM, "queue" for an instruction that was not dispatched yet.
    """

    instruction: int
    unit: str
    start: int
    end: int
    busy: int
    stalls: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Timing:
    """One frame. ``begin`` and ``end`` in cycles from the start of the simulation: a frame begins when the previous one
    has ended, and ends when every unit has.

    macs: MACs without padding. busy: cycles by unit; "matrix" counts tiles at work, "memory" is DRAM. traffic: DRAM
    bytes by kind, "weights", "load", "store", "instructions". ring: (cycle, bytes in the weight ring) wherever the
    level changed. on_chip: bytes read and written by memory; "array": weights loaded into the array.
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
