"""Sessions opened, run and closed in a row: how long each part takes, and what it costs that a run can be stopped.

``python -m benchmarks.sessions APP.edgemtl [CYCLES]``; try it on a busy machine too, where pools of threads end slowly.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgemtl.runtime import Session

RUNS = 400


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cycle(bundle: str) -> tuple[float, float, float]:
    """Seconds to open a session with two threads, to run its first task once, and to close it."""
    start = time.perf_counter()
    session = Session.open(bundle, threads=2)
    opened = time.perf_counter() - start
    image = np.zeros(session.input.shape, np.float32)
    return opened, _seconds(lambda: session.run(session.tasks[0], image)), _seconds(session.close)


def cost_of_stopping(bundle: str) -> dict[str, float]:
    """The fastest run in seconds, in turns: in one part, in the parts a session takes, in a part for each step."""
    with Session.open(bundle, threads=2) as session:
        task, image = session.tasks[0], np.zeros(session.input.shape, np.float32)
        out, steps = session.run(task, image), session.task_info(task).steps
        cuts = {"one part": (steps,), "as it is": session._ends[task], "every step": tuple(range(1, steps + 1))}
        best = dict.fromkeys(cuts, float("inf"))
        for _ in range(RUNS):
            for name, ends in cuts.items():
                session._ends[task] = ends
                best[name] = min(best[name], _seconds(lambda: session.run(task, image, out=out)))
        return best


def main(bundle: str, cycles: str = "1000") -> None:
    """Print both, with the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    busy = Path("/proc/loadavg").read_text().split()[0]
    print(f"measured on {processor}, load {busy} at the start")
    times = np.array([cycle(bundle) for _ in range(int(cycles))]) * 1e3
    for name, column in zip(("open", "run", "close"), times.T, strict=True):
        middle, late = np.percentile(column, [50, 99])
        print(f"{name:6s} median {middle:7.2f} ms   99% {late:7.2f} ms   longest {column.max():7.2f} ms")
    for name, seconds in cost_of_stopping(bundle).items():
        print(f"fastest run, {name:10s} {seconds * 1e3:8.3f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
