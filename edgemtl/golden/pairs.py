"""Golden pairs as a bundle takes them, and how far two answers are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgemtl.bundle import GoldenEntry, pack_golden
from edgemtl.golden.inputs import Drawn
from edgemtl.operators import Array

TOLERANCE = 1e-4
"""Of the largest value of the output."""
LEAST_SCALE = 1e-3
"""Outputs below this are rounding of larger values within the model, as far as a tolerance goes."""


@dataclass(frozen=True)
class Answer:
    """An input and its output; ``tolerance`` is the largest absolute difference that passes."""

    drawn: Drawn
    output: Array = field(repr=False)
    tolerance: float


@dataclass(frozen=True)
class Goldens:
    """Pairs of all tasks as entries of the manifest, their sections by name, and what a user should know of them."""

    entries: tuple[GoldenEntry, ...]
    sections: Mapping[str, bytes] = field(repr=False)
    notes: tuple[str, ...]


def pack(answers: Sequence[tuple[str, Answer]], notes: Sequence[str]) -> Goldens:
    """The pairs of (task, answer), in this order."""
    packed = [pack_golden(task, a.drawn.stored, a.output, a.tolerance, a.drawn.case) for task, a in answers]
    sections = {name: data for _, members in packed for name, data in members.items()}
    return Goldens(tuple(entry for entry, _ in packed), sections, tuple(notes))


def scale_of(output: Array) -> float:
    """The largest finite absolute value."""
    return float(np.abs(output[np.isfinite(output)].astype(np.float64)).max(initial=0.0))


def tolerance_of(output: Array) -> float:
    """The largest absolute difference that passes."""
    return TOLERANCE * max(scale_of(output), LEAST_SCALE)


def spread(outputs: Sequence[Array], answer: Array) -> float:
    """The largest difference of any output from the answer; equal infinities and two NaN differ by nothing."""
    return max(_distance(output, answer) for output in outputs)


def _distance(a: Array, b: Array) -> float:
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    difference = np.abs(a[~same].astype(np.float64) - b[~same].astype(np.float64)).max(initial=0.0)
    return float(difference) if np.isfinite(difference) else np.inf
