"""From segments and their timings in the cycle simulator to the profile of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edgemtl.hw.isa import UNITS
from edgemtl.hw.sim.energy import Energy
from edgemtl.hw.sim.trace import Timing
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.profile.energy import energy_parts
from edgemtl.report.profile.facts import Routes, SegmentFacts
from edgemtl.report.profile.frame import FrameTime
from edgemtl.report.profile.layers import make_layers
from edgemtl.report.profile.memories import make_buffers, make_memories
from edgemtl.report.profile.model import Switches, TaskProfile
from edgemtl.report.profile.parts import DramEfficiency, ExpertLoads, InstructionSpan, Latency


@dataclass(frozen=True)
class FrameTimings:
    """Timings of one segment: a frame on an idle accelerator, and a frame when the same task runs back to back."""

    cold: Timing
    steady: Timing


def task_profile(
    task: str,
    segments: Sequence[SegmentFacts],
    timings: Sequence[FrameTimings],
    routes: Sequence[Routes],
    spec: AcceleratorSpec,
    frame: FrameTime,
    energy: Sequence[Energy] = (),
    left: Sequence[str] = (),
    dram: Mapping[int | None, int] = MappingProxyType({}),
) -> TaskProfile:
    """The profile of a task; ``timings``, ``routes`` and, where it was estimated, ``energy``: one for each segment.

    frame: image to result, with the host CPU. dram: steady-state cycles by the percentage of its peak that DRAM
    sustains.

    The task's cycles are those of its segments, one after the other. Raises ValueError where a segment has no timing or
    no routes, or a span belongs to no instruction.
    """
    steady = [timing.steady for timing in timings]
    begins = np.cumsum([0, *(timing.cycles for timing in steady)]).tolist()
    firsts = np.cumsum([0, *(len(segment.layers) for segment in segments)]).tolist()
    spans = tuple(
        span
        for index, (segment, timing) in enumerate(zip(segments, steady, strict=True))
        for span in _spans(index, segment, timing, begins[index] - timing.begin, firsts[index])
    )
    layers = make_layers(segments, spans, spec)
    return TaskProfile(
        task=task,
        latency=_latency(timings, spec),
        frame=frame,
        macs=sum(layer.macs for layer in layers),
        macs_executed=sum(timing.macs for timing in steady),
        layers=layers,
        spans=spans,
        traffic=_sum(timing.traffic for timing in steady),
        memories=make_memories(segments, _sum(timing.on_chip for timing in steady), spec.engine),
        buffers=make_buffers(segments, spans),
        ring=tuple(_ring(steady, begins)),
        experts=tuple(_experts(segments, routes, firsts)),
        energy=energy_parts(energy),
        utilisation=_utilisation(steady, spec),
        dram=tuple(DramEfficiency(percent, n, n / spec.engine.clock_mhz / 1e3) for percent, n in dram.items()),
        left=tuple(left),
    )


def switch_cost(order: Sequence[str], cycles: Sequence[int], steady: Mapping[str, int]) -> Switches:
    """The cost of switching tasks: ``cycles`` of each frame in ``order``, against each task's ``steady`` frame."""
    extra = tuple(took - steady[task] for task, took in zip(order, cycles, strict=True))
    return Switches(tuple(order), tuple(cycles), dict(steady), extra)


def _spans(index: int, segment: SegmentFacts, timing: Timing, shift: int, first: int) -> Iterator[InstructionSpan]:
    if timing.spans and timing.spans[-1].instruction >= len(segment.instructions):
        raise ValueError(f"segment {index} must have a word for every span, and has {len(segment.instructions)}")
    for span in timing.spans:
        word = segment.instructions[span.instruction]
        yield InstructionSpan(
            index,
            span.instruction,
            first + word.layer,
            span.unit,
            span.start + shift,
            span.end + shift,
            span.busy,
            dict(span.stalls),
            word.bytes,
            word.text,
        )


def _latency(timings: Sequence[FrameTimings], spec: AcceleratorSpec) -> Latency:
    first, steady = sum(timing.cold.cycles for timing in timings), sum(timing.steady.cycles for timing in timings)
    cycles_per_ms = spec.engine.clock_mhz * 1e3
    return Latency(first, steady, first / cycles_per_ms, steady / cycles_per_ms)


def _sum(parts: Iterator[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _ring(steady: Sequence[Timing], begins: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The changes of the ring's level within the frames."""
    for timing, begin in zip(steady, begins, strict=False):
        inside = ((cycle, size) for cycle, size in timing.ring if timing.begin <= cycle <= timing.end)
        yield from ((begin + cycle - timing.begin, size) for cycle, size in inside)


def _experts(
    segments: Sequence[SegmentFacts], routes: Sequence[Routes], firsts: Sequence[int]
) -> Iterator[ExpertLoads]:
    for segment, decided, first in zip(segments, routes, firsts, strict=False):
        for router, choices in zip(segment.routers, decided, strict=True):
            counts = np.bincount(np.asarray(choices).ravel(), minlength=router.experts)
            yield ExpertLoads(first + router.layer, tuple(counts.tolist()), router.early)


def _utilisation(steady: Sequence[Timing], spec: AcceleratorSpec) -> dict[str, float]:
    cycles = max(sum(timing.cycles for timing in steady), 1)
    busy = _sum(timing.busy for timing in steady)
    array = sum(timing.macs for timing in steady) / (cycles * spec.engine.macs_per_cycle)
    return {"array": array} | {unit: busy.get(unit, 0) / cycles for unit in (*UNITS, "memory")}
