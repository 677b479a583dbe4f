"""How long streams take: an event simulation of units, credits, queues, tiles, the weight ring and DRAM.

The formulas are those of docs/accelerator.md, section Time. Nothing here knows what the numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemtl.hw.encoding import Stream
from edgemtl.hw.sim.cycle.banks import by_banks
from edgemtl.hw.sim.cycle.frames import Frame
from edgemtl.hw.sim.cycle.machine import Machine
from edgemtl.hw.sim.cycle.memory import Steady
from edgemtl.hw.sim.cycle.plan import plan
from edgemtl.hw.sim.trace import Timing
from edgemtl.hw.spec import AcceleratorSpec

__all__ = ["Frame", "rate", "simulate"]


def simulate(frames: Sequence[Frame], spec: AcceleratorSpec, banks: bool = False) -> tuple[Timing, ...]:
    """The timing of every frame, run one after the other on an accelerator that was idle before.

    ``banks``: DRAM by rows, banks and refresh, for boards that say their `MemoryTiming`, instead of a steady rate.
    Raises UsageError for routes that do not fit the stream, InputError for choices that are no candidates, and
    IntegrityError for a deadlock, with the instructions that wait.
    """
    memories = by_banks(spec) if banks else [Steady(rate) for rate in spec.memory_rates]
    return Machine(plan(frames, spec.engine), memories, spec.sustained_bytes_per_cycle).run()


def rate(
    stream: Stream,
    routes: tuple[npt.NDArray[np.int32], ...],
    spec: AcceleratorSpec,
    early: tuple[tuple[int, ...], ...] = (),
) -> Timing:
    """The steady state of one task run back to back: the third of four frames, in cycles of the whole simulation.

    Nothing was fetched ahead for the first frame and only a part for the second; the last shares DRAM with no next
    frame. Raises what `simulate` raises.
    """
    return simulate([Frame(stream, routes, early)] * 4, spec)[2]
