"""A task of a CPU bundle, timed kernel by kernel and as a whole on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle, islice

from edgemtl.bundle import Program
from edgemtl.operators import Frame
from edgemtl.progress import tick
from edgemtl.report.profile import CpuTaskProfile, cpu_task_profile
from edgemtl.runtime import Session

WARMUP = 3


def measure_task(session: Session, program: Program, task: str, images: Sequence[Frame], runs: int) -> CpuTaskProfile:
    """Times of ``runs`` runs over the images in turn, after some that do not count."""
    layers = program.tasks[task].layers
    kernels, whole = [], []
    for index, image in enumerate(islice(cycle(images), WARMUP + runs)):
        start = time.perf_counter()
        session.run(task, image)
        took = (time.perf_counter() - start) * 1e3
        steps = [step.seconds * 1e3 for step in session.profile(task, image)]
        if index >= WARMUP:
            whole.append(took)
            kernels.append(steps)
        tick()
    return cpu_task_profile(task, layers, kernels, whole)
