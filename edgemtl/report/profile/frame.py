"""A frame from the image that a camera gives to the result: steps of the host CPU and segments of the accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Where = Literal["host CPU", "accelerator"]
BASIS: Final = "estimated"


@dataclass(frozen=True)
class FrameStep:
    """One step: a segment of the accelerator (simulated), or a step of the host CPU (estimated).

    ms: None where nobody counted the instructions of its kernel. macs: its multiply-accumulates.
    """

    where: Where
    name: str
    ms: float | None
    macs: int


@dataclass(frozen=True)
class FrameTime:
    """One frame, image to result, while frames of the same task follow each other; estimated.

    threads: cores that share each step of the host CPU. host_before_ms, host_between_ms, host_after_ms: its steps in
    front of the first segment, between segments, and behind the last one. latency_ms: all steps, one after the other.
    interval_ms: from one result to the next where the host CPU works on other frames while the accelerator runs: the
    larger of both sums. No figure of all is given (None) where a step has none, and ``unknown`` names those steps.
    accelerator_share: of all multiply-accumulates, those of segments; None where there are none at all.
    """

    steps: tuple[FrameStep, ...]
    threads: int
    host_before_ms: float | None
    accelerator_ms: float
    host_between_ms: float | None
    host_after_ms: float | None
    latency_ms: float | None
    interval_ms: float | None
    unknown: tuple[str, ...]
    accelerator_share: float | None


def frame_time(steps: Sequence[FrameStep], threads: int) -> FrameTime:
    """The sums over the steps of a task in their order; ``threads`` cores share each step of the host CPU."""
    segments = [index for index, step in enumerate(steps) if step.where == "accelerator"]
    first, last = (segments[0], segments[-1]) if segments else (len(steps), len(steps))
    before, between, after = (_host_ms(part) for part in (steps[:first], steps[first:last], steps[last:]))
    accelerator = sum(steps[index].ms or 0.0 for index in segments)
    macs, there = sum(step.macs for step in steps), sum(steps[index].macs for index in segments)
    unknown = tuple(step.name for step in steps if step.ms is None)
    latency = interval = None
    if before is not None and between is not None and after is not None:
        host = before + between + after
        latency, interval = host + accelerator, max(host, accelerator)
    share = there / macs if macs else None
    return FrameTime(tuple(steps), threads, before, accelerator, between, after, latency, interval, unknown, share)


def _host_ms(steps: Sequence[FrameStep]) -> float | None:
    times = [step.ms for step in steps if step.where == "host CPU"]
    return None if None in times else sum(time for time in times if time is not None)
