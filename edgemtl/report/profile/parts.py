"""The rows of a profile: layers, instructions, memories, buffers, experts and joules of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Stalls = Mapping[str, Mapping[str, int]]
"""Stall cycles by unit, then by the reason that `hw.sim.trace.Span` names."""


@dataclass(frozen=True)
class Latency:
    """Latency of one frame on an idle accelerator, and steady-state latency when the same task runs back to back."""

    first_cycles: int
    steady_cycles: int
    first_ms: float
    steady_ms: float


@dataclass(frozen=True)
class DramEfficiency:
    """Steady-state latency where DRAM sustains so many ``percent`` of its peak, everything else being the same.

    ``percent`` None: DRAM by rows, banks and refresh.
    """

    percent: int | None
    steady_cycles: int
    steady_ms: float


@dataclass(frozen=True)
class LayerProfile:
    """One layer. Layers overlap: the sum of their cycles from ``start`` to ``end`` is more than the frame's.

    label: unique name with its place in the model. macs: MACs of the model, without padding. start, end: first start
    and last end of its instructions; instructions that only fetch ahead do not count if it has others. matrix_busy:
    cycles the array worked for this layer, which do not overlap those of other layers; matrix_share: their share of all
    cycles the array worked. utilisation: MACs per cycle of matrix_busy, as a share of the array's peak. traffic: DRAM
    bytes by kind; intensity: MACs per DRAM byte, None without traffic.
    """

    label: str
    name: str
    origin: tuple[str, ...]
    segment: int
    instructions: int
    macs: int
    start: int
    end: int
    matrix_busy: int
    matrix_share: float
    utilisation: float
    traffic: Mapping[str, int]
    intensity: float | None
    stalls: Stalls


@dataclass(frozen=True)
class InstructionSpan:
    """One instruction as it ran; ``layer``: index into `TaskProfile.layers`; ``text``: its disassembly."""

    segment: int
    instruction: int
    layer: int
    unit: str
    start: int
    end: int
    busy: int
    stalls: Mapping[str, int]
    bytes: int
    text: str


@dataclass(frozen=True)
class MemoryUse:
    """An on-chip memory: bytes the plan uses, capacity, lower bound of any plan, and the gap between plan and bound.

    Bound and gap are None for the weight ring and the router's table, whose sizes are not planned. moved: bytes read
    and written in a frame, None where they are not counted.
    """

    memory: str
    bytes: int
    capacity: int
    lower_bound: int | None
    gap: float | None
    moved: int | None


@dataclass(frozen=True)
class BufferLife:
    """A buffer's offset in its memory, and the cycles from its first instruction's start to its last one's end."""

    name: str
    memory: str
    layer: int
    offset: int
    bytes: int
    start: int
    end: int


@dataclass(frozen=True)
class ExpertLoads:
    """Tokens in each expert's queue, summed over the images; ``early``: the prefetch list.

    layer: index into `TaskProfile.layers`. Experts are numbered among the candidates of the task.
    """

    layer: int
    tokens: tuple[int, ...]
    early: tuple[int, ...]

    @property
    def empty(self) -> tuple[int, ...]:
        """Experts that no token chose."""
        return tuple(expert for expert, count in enumerate(self.tokens) if not count)


@dataclass(frozen=True)
class EnergyPart:
    """Joules per frame of one part, low, typical and high: ``amount`` times its coefficient."""

    part: str
    amount: float
    low: float
    typical: float
    high: float


@dataclass(frozen=True)
class Coefficient:
    """Joules that one ``unit`` is estimated to cost, and the source; ``name``: the part it belongs to."""

    name: str
    unit: str
    low: float
    typical: float
    high: float
    source: str


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a task on a CPU: median, least and most milliseconds over all runs."""

    name: str
    origin: tuple[str, ...]
    median_ms: float
    least_ms: float
    most_ms: float
    macs: int
    bytes: int
    gmac_per_s: float
