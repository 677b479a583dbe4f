"""Which experts are worth fetching before a gate has decided: those that calibration images use most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgemtl.hw.spec import Engine
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array, QExperts, QRouter, Values
from edgemtl.quantize import IntegerTask

MOST_IMAGES = 32
LEAST_SHARE = 0.5
"""Of the images, that an early expert must be used in: below, fetching it is more often in vain than not."""

Counts = npt.NDArray[np.int64]


def popular_experts(
    tasks: Mapping[str, IntegerTask], images: Sequence[Array], engine: Engine
) -> dict[str, dict[str, tuple[int, ...]]]:
    """By task, then by the buffer of a gate's output: the experts to fetch early, by place among the candidates.

    They are used in at least half of the images (at most 32 are run, by the integer law), those with most tokens first,
    and fill the weight ring but for the room of one expert. Without images there are none.
    """
    return {name: _popular(task.steps, images[:MOST_IMAGES], engine) for name, task in tasks.items()}


def _popular(steps: Sequence[Step], images: Sequence[Array], engine: Engine) -> dict[str, tuple[int, ...]]:
    counts = _count(steps, images)
    return {
        steps[at]["logits"].buffer: choose(np.array(counts[at]), most_early(steps, at, engine))
        for at, step in enumerate(steps)
        if isinstance(step.operator, QRouter) and counts[at]
    }


def _count(steps: Sequence[Step], images: Sequence[Array]) -> dict[int, list[Counts]]:
    """For each router's step, per image the tokens of every candidate."""
    counts: dict[int, list[Counts]] = {i: [] for i, step in enumerate(steps) if isinstance(step.operator, QRouter)}

    def watch(index: int, values: Values, outputs: Mapping[str, Array]) -> None:
        if index in counts:
            first = outputs["offsets"].astype(np.int64)
            counts[index].append(first[1:] - first[:-1])

    for image in images if counts else ():
        run_steps(steps, image, watch)
    return counts


def choose(tokens: Counts, most: int) -> tuple[int, ...]:
    """At most ``most`` candidates of tokens [images, candidates]: used in half of the images, most tokens first."""
    used, mean = (tokens > 0).mean(axis=0), tokens.mean(axis=0)
    ranked = sorted(np.nonzero(used >= LEAST_SHARE)[0].tolist(), key=lambda expert: (-mean[expert], expert))
    return tuple(ranked[:most])


def most_early(steps: Sequence[Step], router: int, engine: Engine) -> int:
    """How many experts of the router's step the weight ring holds beside one more."""
    first = steps[router]["offsets"].buffer
    readers = [s for s in steps if isinstance(s.operator, QExperts) and s["offsets"].buffer == first]
    layers = (step.constant(name, 0) for step in readers for name in ("weight", "bias", "scale"))
    expert = sum(constant.array.nbytes for constant in layers)
    return max(engine.weight_ring_bytes // expert - 1, 0) if expert else 0
