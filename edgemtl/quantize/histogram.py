"""Histograms of bounded size, whatever values come in which order, and the ranges they suggest.

Bins are spaced by magnitude, as floating-point numbers are: `PER_OCTAVE` between a power of two and the next, for each
sign, in the octaves that occur. An outlier takes an octave of its own and leaves all others as fine as they were.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgemtl.operators import Array

PER_OCTAVE = 256
CANDIDATES_PER_OCTAVE = 8
OCTAVES = 278
"""All that float32 has, denormal numbers included: bounds bins and candidates."""
LEVELS = 128
"""Levels of int8 on one side of 0."""
FLOOR = 1e-3
"""Of a value: what a bin of clipped values gets, which has nothing to be spread from."""

Counts = NDArray[np.float64]
Bins = NDArray[np.int64]


class Histogram:
    """Counts of values by sign (negative, positive) and magnitude."""

    def __init__(self) -> None:
        self.zeros = 0
        self.octaves: dict[int, Bins] = {}
        """By octave n, of magnitudes from 2^(n-1) up to 2^n: counts [2, PER_OCTAVE]."""

    def add(self, values: Array) -> None:
        """Count float32 values of any shape, all finite."""
        flat = values.reshape(-1).astype(np.float64)
        flat = flat[flat != 0]
        self.zeros += values.size - flat.size
        fraction, octave = np.frexp(np.abs(flat))
        place = ((fraction * 2 - 1) * PER_OCTAVE).astype(np.int64) + (flat > 0) * PER_OCTAVE
        for number in np.unique(octave):
            counts = np.bincount(place[octave == number], minlength=2 * PER_OCTAVE).reshape(2, PER_OCTAVE)
            self.octaves[int(number)] = self.octaves.get(int(number), 0) + counts

    def bins(self) -> tuple[Bins, Counts]:
        """Counts [2, n] of all bins from the smallest octave that occurs to the largest, and their limits [n + 1]."""
        if not self.octaves:
            return np.zeros((2, 1), np.int64), np.array([0.0, 1.0])
        first, last = min(self.octaves), max(self.octaves)
        empty = np.zeros((2, PER_OCTAVE), np.int64)
        counts = np.concatenate([self.octaves.get(n, empty) for n in range(first, last + 1)], axis=1)
        below = np.exp2(np.arange(first - 1, last, dtype=np.float64))
        limits = (below[:, None] * (1 + np.arange(PER_OCTAVE) / PER_OCTAVE)).reshape(-1)
        return counts, np.append(limits, np.exp2(float(last)))

    def percentile(self, percent: float) -> tuple[float, float]:
        """The range without the outer (100 - percent) / 2 percent on either side, and part of a bin; 0 is within."""
        counts, limits = self.bins()
        cut = (self.zeros + int(counts.sum())) * (100 - percent) / 200
        ends = []
        for side in counts:
            beyond = np.cumsum(side[::-1])[::-1]
            inside = np.flatnonzero(beyond > cut)
            ends.append(float(limits[inside[-1]]) if inside.size else 0.0)
        return -ends[0], ends[1]

    def least_divergence(self) -> tuple[float, float]:
        """The range, symmetric but for a sign that does not occur, whose int8 levels change the distribution least.

        By Kullback-Leibler divergence, as TensorRT calibrates (S. Migacz, 8-bit inference with TensorRT, GTC 2017), of
        a bounded number of candidates.
        """
        counts, limits = self.bins()
        scores = [(_divergence(counts, limits, end), -end) for end in candidates(counts)]
        if not scores:
            return 0.0, 0.0
        reach = float(limits[-min(scores)[1]])
        low, high = (reach if side.any() else 0.0 for side in counts)
        return -low, high


def candidates(counts: Bins) -> list[int]:
    """The bins behind which a range may end: from the largest value down to the median, where there are values."""
    both = counts.sum(0)
    if not both.any():
        return []
    last = int(np.flatnonzero(both)[-1]) + 1
    least = int(np.searchsorted(np.cumsum(both), both.sum() / 2)) + 1
    step = PER_OCTAVE // CANDIDATES_PER_OCTAVE
    return [end for end in range(last, least - 1, -step) if both[max(end - step, 0) : end].any()]


def _divergence(counts: Bins, limits: Counts, end: int) -> float:
    """KL divergence, from what is there, of clipping behind bin ``end`` and rounding to levels."""
    inner = counts[:, :end].astype(np.float64)
    reference = inner.copy()
    reference[:, -1] += counts[:, end:].sum(1)
    # A bin belongs to the level of its middle.
    middle, width = (limits[:end] + limits[1 : end + 1]) / 2, np.diff(limits[: end + 1])
    level = np.minimum((middle / limits[end] * LEVELS).astype(np.int64), LEVELS - 1)
    sides = zip(reference, inner, strict=True)
    return float(sum(_divergence_of(r, i, level, width) for r, i in sides) / reference.sum())


def _divergence_of(reference: Counts, inner: Counts, level: Bins, width: Counts) -> float:
    """One sign's part: a level's count is spread over its bins that hold values, by their width."""
    occupied = np.where(reference > 0, width, 0.0)
    mass, space = (np.bincount(level, weights, LEVELS) for weights in (inner, occupied))
    density = np.divide(mass, space, out=np.zeros(LEVELS), where=space > 0)
    used = reference > 0
    spread = np.maximum((density[level] * occupied)[used], FLOOR)
    return float((reference[used] * np.log(reference[used] / spread)).sum())
