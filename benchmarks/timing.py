"""The loop that times functions: they take turns, so a change of the machine's speed touches them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

CLOCKS: Mapping[str, Callable[[], int]] = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}
"""What times are: as they pass, or those of the process on all cores.

The latter is for one thread on a busy machine: a backend that hands a run to a thread of its own waits there for a core
each time, which on a quiet machine costs nothing.
"""


def milliseconds(
    functions: Sequence[Callable[[], object]],
    rounds: int,
    runs: int = 1,
    warm_runs: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[list[float]]:
    """Every function's times, ``rounds * runs`` of them; in its turn it first runs ``warm_runs`` times untimed.

    ``clock`` gives nanoseconds.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, measured in zip(functions, times, strict=True):
            for _ in range(warm_runs):
                function()
            for _ in range(runs):
                begin = clock()
                function()
                measured.append((clock() - begin) / 1e6)
    return times
