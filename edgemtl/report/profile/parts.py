"""The rows of a profile: layers, instructions, memories, buffers, experts and joules of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Stalls = Mapping[str, Mapping[str, int]]
"""Cycles that a unit stood still, by unit, then by the reason that `hw.sim.trace.Span` names."""


@dataclass(frozen=True)
class Latency:
    """One frame alone on an accelerator that stood idle, and in a row of frames of the same task."""

    first_cycles: int
    steady_cycles: int
    first_ms: float
    steady_ms: float


@dataclass(frozen=True)
class LayerProfile:
    """One layer. Layers overlap: the sum of their cycles from ``start`` to ``end`` is more than the frame's.

    label: name and place in the model, told apart. macs: products of the model, padding left out. start, end: first
    begin and last end of its instructions, but for those that only fetch ahead where it has others. matrix_busy: cycles
    the array worked for it, matrix_share of all the array worked; these do not overlap. utilisation: products made over
    matrix_busy x the array's products a cycle. traffic: bytes through the board's memory by kind; intensity: macs a
    byte, None without bytes.
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
    """One instruction as it ran; ``layer`` is a place in `TaskProfile.layers`, ``text`` its disassembly."""

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
    """A memory on chip: bytes the plan takes of what there is, the least any plan could, and by how much it is over.

    None where nothing is planned: the weight ring and the router's table have the size they have. moved: bytes read
    and written in a frame, None where nobody counts.
    """

    memory: str
    bytes: int
    capacity: int
    lower_bound: int | None
    gap: float | None
    moved: int | None


@dataclass(frozen=True)
class BufferLife:
    """Where a buffer lies in its memory, and the cycles from the begin of its first word to the end of its last."""

    name: str
    memory: str
    layer: int
    offset: int
    bytes: int
    start: int
    end: int


@dataclass(frozen=True)
class ExpertLoads:
    """Tokens in each expert's queue, summed over the images; ``early`` ones were fetched before the router knew.

    layer: its place in `TaskProfile.layers`. Experts count by their place among the candidates of the task.
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
    """Joules a frame of one part, ``amount`` of its coefficient: the least, what is typical, the most."""

    part: str
    amount: float
    low: float
    typical: float
    high: float


@dataclass(frozen=True)
class Coefficient:
    """Joules that one ``unit`` is taken to cost, and who says so; ``name`` is that of its part."""

    name: str
    unit: str
    low: float
    typical: float
    high: float
    source: str


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a task on a CPU: milliseconds over all runs, the median with the least and the most."""

    name: str
    origin: tuple[str, ...]
    median_ms: float
    least_ms: float
    most_ms: float
    macs: int
    bytes: int
    gmac_per_s: float
