"""An estimate of the energy of a frame: what was counted, times coefficients with the range in which they may lie.

Nothing of it was measured: no board was at hand, and nothing is placed or routed. The range matters, and the typical
value is no promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl.hw.sim.coefficients import COEFFICIENTS, Coefficient, Range
from edgemtl.hw.sim.trace import Timing
from edgemtl.hw.spec import AcceleratorSpec, Engine, resource_sum

__all__ = ["COEFFICIENTS", "Coefficient", "Energy", "Part", "Range", "estimate"]


@dataclass(frozen=True)
class Part:
    """Joules of one part of a frame: ``amount`` of the coefficient of its name."""

    name: str
    amount: float
    joules: Range


@dataclass(frozen=True)
class Energy:
    """One frame of ``seconds``: joules in total, watts on average, and the parts the total is made of."""

    seconds: float
    joules: Range
    watts: Range
    parts: tuple[Part, ...]


def estimate(timing: Timing, spec: AcceleratorSpec) -> Energy:
    """The energy of a frame on the engine at its target clock, in joules."""
    seconds = timing.cycles / (spec.engine.clock_mhz * 1e6)
    amounts = dict(_amounts(timing, spec, seconds))
    total, parts = Range(0, 0, 0), []
    for coefficient in COEFFICIENTS:
        joules = coefficient.joules.times(amounts[coefficient.name])
        total = total.plus(joules)
        parts.append(Part(coefficient.name, amounts[coefficient.name], joules.rounded()))
    watts = total.times(1 / seconds if seconds else 0)
    return Energy(seconds, total.rounded(), watts.rounded(), tuple(parts))


def _amounts(timing: Timing, spec: AcceleratorSpec, seconds: float) -> Iterator[tuple[str, float]]:
    engine, busy = spec.engine, timing.busy
    stored = {"bram36": 0, "uram288": 0}
    for name, size in timing.on_chip.items():
        if name != "array":
            stored[_memory(engine, name)] += size
    yield "mac", timing.macs
    yield "array", timing.on_chip.get("array", 0)
    yield from stored.items()
    yield "lane", engine.softmax_lanes * busy.get("softmax", 0) + engine.vector_lanes * busy.get("vector", 0)
    yield "clock", timing.cycles * sum(row.amount for row in resource_sum(spec) if row.resource == "lut")
    yield "memory", sum(timing.traffic.values())
    yield "memory_idle", seconds
    yield "static", seconds * spec.board.part.lut / 100_000
    yield "processors", seconds


def _memory(engine: Engine, name: str) -> str:
    """What a region, or the ring, is made of."""
    return engine.weight_ring_memory if name == "ring" else str(getattr(engine.buffers, name.rstrip("01")).memory)
