"""Which part of a LayerNorm moves into the layers that read it, and how its largest channels are scaled down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8
from edgemtl.hw.law import MOST_WIDTH, WIDE
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array

MOST_HALVINGS, MOST_WIDE_HALVINGS = 7, 3


@dataclass(frozen=True)
class NormPlan:
    """The integer form of a LayerNorm.

    halvings int8 [dim]: how often each channel is halved. reach: the largest magnitude of a halved, normalised row.
    fold [dim] is what the readers multiply by, shift [dim] what they add (0 where ``offset`` [dim], in units of the
    halved rows, does it already).
    """

    halvings: Array = field(repr=False)
    reach: float
    fold: Array = field(repr=False)
    shift: Array = field(repr=False)
    offset: Array = field(repr=False)
    wide: bool = False


def readers(steps: Sequence[Step], index: int) -> list[Step]:
    """The steps that read the first output of a step, or a copy of it."""
    buffers, reading = {steps[index].result.buffer}, list[Step]()
    for step in steps[index + 1 :]:
        if any(view.buffer in buffers for view in step.inputs):
            if isinstance(step.operator, ops.Copy):
                buffers.add(step["y"].buffer)
            else:
                reading.append(step)
    return reading


def can_fold(steps: Sequence[Step], index: int) -> bool:
    """Whether gamma and beta of a LayerNorm can be folded into all that reads it, and the law folds rows so wide."""
    operator, reading = steps[index].operator, readers(steps, index)
    assert isinstance(operator, ops.LayerNorm)
    is_folded = all(
        isinstance(r.operator, ops.Linear | ops.Experts)
        or (isinstance(r.operator, ops.Conv2d) and r.operator.groups == 1)
        for r in reading
    )
    return bool(reading) and is_folded and operator.dim <= MOST_WIDTH


def plan_norm(
    steps: Sequence[Step], index: int, extremes: Array, weigh: Sequence[Step], wide: bool = False
) -> NormPlan:
    """Fold gamma and beta into the readers and choose the halvings.

    ``extremes`` [dim]: the largest magnitude of each normalised channel. ``weigh``: the readers whose weights determine
    the halvings. Raises UnsupportedError for a beta that gamma is too small for.
    """
    step, reading = steps[index], readers(steps, index)
    gamma, beta = (step.constant(name).array.astype(np.float64) for name in ("scale", "shift"))
    padded = any(isinstance(r.operator, ops.Conv2d) and any(r.operator.pad) for r in reading)
    inner = _inner_offset(step, gamma, beta) if padded else np.zeros_like(beta)
    largest = extremes.astype(np.float64) + np.abs(inner)
    halvings, reach = choose_halvings(largest, gamma[:, None] * np.concatenate([*map(_rows, weigh)], -1), wide)
    halves = 2.0 ** -halvings.astype(np.float64)
    return NormPlan(halvings, reach, gamma / halves, np.zeros_like(beta) if padded else beta, inner * halves, wide)


def _inner_offset(step: Step, gamma: Array, beta: Array) -> Array:
    """beta / gamma: the offset added before gamma, for readers that pad with zeros, so that beta cannot be folded."""
    limit = 2.0**8
    if np.any(np.abs(beta) > limit * np.abs(gamma)):
        worst = int(np.argmax(np.abs(beta) - limit * np.abs(gamma)))
        reason = f"beta of channel {worst} must be at most {limit:g} times gamma in front of a padded convolution"
        raise UnsupportedError(step.origin[0], reason, "keep it in float (--keep-float)")
    return np.divide(beta, gamma, out=np.zeros_like(beta), where=gamma != 0)


def _rows(step: Step) -> Array:
    """A reader's weights with one row per channel of what it reads."""
    if isinstance(step.operator, ops.Experts):
        return np.concatenate([step.constant("weight", e).array for e in range(step.operator.slots)], -1)
    weight = step.constant("weight").array
    if isinstance(step.operator, ops.Conv2d):
        return weight.transpose(1, 0, 2, 3).reshape(weight.shape[1], -1)
    return weight


def choose_halvings(largest: Array, weights: Array, wide: bool = False) -> tuple[Array, float]:
    """The halvings int8 [dim] with the least expected error of the readers' sums, and the reach that remains.

    largest [dim]: largest magnitude of each channel. weights [dim, n]. One scale for all channels wastes bits if only
    few channels are large. Halving a large channel rounds it more coarsely, and enlarges its weights relative to the
    others of their column. Both errors are modelled as uniform rounding; of the channels' reaches, the one with the
    least sum of errors is chosen.
    """
    loud = np.maximum(largest, 1e-6)
    most, finer = (MOST_WIDE_HALVINGS, INT8[1] / WIDE[1]) if wide else (MOST_HALVINGS, 1.0)
    energy = (weights**2).sum(-1)
    best: tuple[float, Array, float] | None = None
    for reach in np.unique(loud):
        halvings = np.clip(np.ceil(np.log2(loud / reach) - 1e-9), 0, most)
        if np.any(loud > reach * 2.0**halvings * (1 + 1e-9)):
            continue
        doubled = 2.0**halvings
        rounding = ((finer * reach * doubled) ** 2 * energy).sum()
        steps_ = np.abs(weights * doubled[:, None]).max(0) ** 2
        coarse = steps_.sum() * (1.0 / doubled**2).sum()
        if best is None or rounding + coarse < best[0]:
            best = float(rounding + coarse), halvings.astype(np.int8), float(reach)
    assert best is not None, "the largest channel's own reach halves nothing"
    return best[1], best[2]
