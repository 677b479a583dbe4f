"""Instructions as the units time them: once the data is known, each is a number of cycles, of tiles or of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgemtl.hw import timing
from edgemtl.hw.sim.cycle.tiles import Tiles


@dataclass(frozen=True)
class Timed:
    """Work of the softmax, vector and router units: ``cycles`` for ``rows`` rows, 0 cycles for no work.

    ``port_writes``: cycles in which it takes a port of `input` from an array that may read through both.
    """

    cycles: int
    rows: int
    port_writes: int = 0


@dataclass(frozen=True)
class Tiled:
    """Work of the matrix unit: ``rows`` through each tile.

    ``base``: where its weights begin, in bytes that entered the ring since the start. ``release``: bytes that leave the
    ring's head at the end. ``walk``: cycles to find its rows in an expert's queue, which the instruction before hides.
    ``refill``: cycles of each tile beside its rows. ``both_ports``: it reads rows through both ports of `input`.
    """

    rows: int
    tiles: Tiles
    base: int
    release: int
    walk: int = 0
    refill: int = 0
    both_ports: bool = False

    @property
    def tile_cycles(self) -> int:
        """Cycles of a tile whose weights are there."""
        return max(self.rows + self.refill, timing.LEAST_TILE.cycles)


@dataclass(frozen=True)
class Moved:
    """Work of the weights and data units: ``size`` bytes of one ``kind`` of traffic, into a ring of ``ring`` bytes.

    ``ring`` is 0 for what does not enter the ring. ``address``: the first byte in DRAM; ``span``: bytes from there to
    the last one.
    """

    kind: str
    size: int
    ring: int
    address: int
    span: int

    def address_of(self, at: int) -> int:
        """The byte of DRAM that byte ``at`` of the traffic is, with what lies between rows spread evenly."""
        return self.address + at * self.span // max(self.size, 1)


Work = Timed | Tiled | Moved


@dataclass(frozen=True)
class ScheduledInstruction:
    """One instruction of one frame: its index, its unit, the units it waits for and signals, and its work.

    ``ahead``: it may start before its frame has begun.
    """

    frame: int
    place: int
    name: str
    unit: str
    waits: tuple[str, ...]
    signals: tuple[str, ...]
    work: Work
    ahead: bool

    def __str__(self) -> str:
        return f"word {self.place} of frame {self.frame} ({self.name})"


@dataclass(frozen=True)
class Program:
    """One frame ready to run. macs and on_chip as in `Timing`; traffic without the bytes of the instructions."""

    instructions: tuple[ScheduledInstruction, ...]
    macs: int
    on_chip: Mapping[str, int]
    traffic: Mapping[str, int]
