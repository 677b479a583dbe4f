"""Prefetch lists: the experts worth fetching before routing is known, those that calibration images use most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgemtl.hw.spec import Engine
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array, Frame, QExperts, QRouter, Values
from edgemtl.quantize import IntegerTask

MOST_IMAGES = 32
LEAST_SHARE = 0.5
"""Least share of the images that use a prefetched expert: below it, fetching would be in vain more often than not."""

Counts = npt.NDArray[np.int64]


def prefetch_lists(
    tasks: Mapping[str, IntegerTask], images: Sequence[Frame], engine: Engine
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Prefetch lists by task, then by the buffer of a gate's output; experts are numbered among the candidates.

    At least half of the images use each expert of a list (at most 32 images are run, by the integer law); those with
    most tokens come first. A list leaves room for one more expert in the weight ring. Without images all are empty.
    """
    return {name: _lists_of_task(task.steps, images[:MOST_IMAGES], engine) for name, task in tasks.items()}


def _lists_of_task(steps: Sequence[Step], images: Sequence[Frame], engine: Engine) -> dict[str, tuple[int, ...]]:
    counts = _count(steps, images)
    return {
        steps[at]["logits"].buffer: choose(np.array(counts[at]), most_prefetched(steps, at, engine))
        for at, step in enumerate(steps)
        if isinstance(step.operator, QRouter) and counts[at]
    }


def _count(steps: Sequence[Step], images: Sequence[Frame]) -> dict[int, list[Counts]]:
    """For the step of each router, the tokens of every candidate, image by image."""
    counts: dict[int, list[Counts]] = {i: [] for i, step in enumerate(steps) if isinstance(step.operator, QRouter)}

    def watch(index: int, values: Values, outputs: Mapping[str, Array]) -> None:
        if index in counts:
            first = outputs["offsets"].astype(np.int64)
            counts[index].append(first[1:] - first[:-1])

    for image in images if counts else ():
        run_steps(steps, image, watch)
    return counts


def choose(tokens: Counts, most: int) -> tuple[int, ...]:
    """At most ``most`` candidates that at least half of the images use, most tokens first.

    tokens [images, candidates]: tokens of each candidate.
    """
    used, mean = (tokens > 0).mean(axis=0), tokens.mean(axis=0)
    ranked = sorted(np.nonzero(used >= LEAST_SHARE)[0].tolist(), key=lambda expert: (-mean[expert], expert))
    return tuple(ranked[:most])


def most_prefetched(steps: Sequence[Step], router: int, engine: Engine) -> int:
    """How many experts of the layer at step ``router`` fit the weight ring, with room left for one more."""
    first = steps[router]["offsets"].buffer
    readers = [s for s in steps if isinstance(s.operator, QExperts) and s["offsets"].buffer == first]
    layers = (step.constant(name, 0) for step in readers for name in ("weight", "bias", "scale"))
    expert = sum(constant.array.nbytes for constant in layers)
    return max(engine.weight_ring_bytes // expert - 1, 0) if expert else 0
