"""The profile of a task on a CPU: medians of measured times, kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edgemtl.report.profile.model import CpuTaskProfile
from edgemtl.report.profile.parts import KernelTime


@dataclass(frozen=True)
class KernelFacts:
    """A kernel call: its name, the nodes it computes, its multiply-accumulates, and the bytes it reads and writes."""

    name: str
    origin: tuple[str, ...]
    macs: int
    bytes: int


def cpu_task_profile(
    task: str, kernels: Sequence[KernelFacts], kernel_ms: Sequence[Sequence[float]], whole_ms: Sequence[float]
) -> CpuTaskProfile:
    """The profile of a task. ``kernel_ms``: a row for each run with a time for each kernel; ``whole_ms``: whole runs.

    Raises ValueError where a run has another number of times than there are kernels, or there is no run.
    """
    if not kernel_ms or not whole_ms:
        raise ValueError("a profile must have at least one run of the kernels and of the whole")
    columns = list(zip(*kernel_ms, strict=True))
    rows = tuple(_row(facts, times) for facts, times in zip(kernels, columns, strict=True))
    return CpuTaskProfile(task, len(whole_ms), median(whole_ms), min(whole_ms), max(whole_ms), rows)


def _row(facts: KernelFacts, times: Sequence[float]) -> KernelTime:
    middle = median(times)
    rate = facts.macs / middle / 1e6 if middle else 0.0
    return KernelTime(facts.name, facts.origin, middle, min(times), max(times), facts.macs, facts.bytes, rate)
