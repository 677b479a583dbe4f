"""How long streams take: an event simulation of units, tokens, queues, tiles, the weight ring and the memory.

The formulas are those of docs/accelerator.md, section Time. Nothing here knows what the numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemtl.hw.encoding import Stream
from edgemtl.hw.sim.cycle.frames import Frame
from edgemtl.hw.sim.cycle.machine import Machine
from edgemtl.hw.sim.cycle.plan import plan
from edgemtl.hw.sim.trace import Timing
from edgemtl.hw.spec import AcceleratorSpec

__all__ = ["Frame", "rate", "simulate"]


def simulate(frames: Sequence[Frame], spec: AcceleratorSpec) -> tuple[Timing, ...]:
    """The timing of every frame, one behind the other on one accelerator that stood idle before.

    Raises UsageError for routes that are not those of the stream, InputError for choices that are none, and
    IntegrityError for a stream that stands still, with the words that wait.
    """
    return Machine(plan(frames, spec.engine), spec.sustained_bytes_per_cycle).run()


def rate(
    stream: Stream,
    routes: tuple[npt.NDArray[np.int32], ...],
    spec: AcceleratorSpec,
    early: tuple[tuple[int, ...], ...] = (),
) -> Timing:
    """One task frame after frame: the third of four, in cycles of the whole simulation.

    The first has nothing fetched ahead for it, the second what the first left time for, and the last shares the
    memory with no next one. Raises what `simulate` raises.
    """
    return simulate([Frame(stream, routes, early)] * 4, spec)[2]
