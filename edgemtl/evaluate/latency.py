"""Latency of a session on this machine: steady runs of a task, and the run right after a switch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemtl.bundle import draw_frame
from edgemtl.operators import Frame
from edgemtl.progress import counted

if TYPE_CHECKING:
    from edgemtl.runtime import Session


@dataclass(frozen=True)
class TaskLatency:
    """Milliseconds of one task. ``switch_ms`` is the median first run after a switch less the steady median."""

    task: str
    runs: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    switch_ms: float

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def _timed(session: Session, task: str, frame: Frame, out: np.ndarray) -> float:
    start = time.perf_counter()
    session.run(task, frame, out=out)
    return (time.perf_counter() - start) * 1e3


def measure_latency(
    session: Session, tasks: Sequence[str], warmup: int, runs: int, seed: int
) -> tuple[TaskLatency, ...]:
    """Measure every task in turn, run by run, so that a change of the machine's speed touches all alike.

    In each round a task runs three times: after another task (the switch), once more to settle, and steady.
    """
    frame = draw_frame(session.inputs, np.random.default_rng(seed))
    outs = {task: session.run(task, frame) for task in tasks}
    for task in tasks:
        for _ in range(warmup):
            _timed(session, task, frame, outs[task])
    first: dict[str, list[float]] = {task: [] for task in tasks}
    steady: dict[str, list[float]] = {task: [] for task in tasks}
    for _ in counted("rounds", range(runs)):
        for task in tasks:
            first[task].append(_timed(session, task, frame, outs[task]))
            _timed(session, task, frame, outs[task])
            steady[task].append(_timed(session, task, frame, outs[task]))
    return tuple(_summary(task, first[task], steady[task]) for task in tasks)


def _summary(task: str, first: list[float], steady: list[float]) -> TaskLatency:
    p10, median, p90 = (float(v) for v in np.percentile(steady, (10, 50, 90)))
    return TaskLatency(task, len(steady), median, p10, p90, float(np.median(first)) - median)
