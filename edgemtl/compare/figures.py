"""How far two sides are apart: sums that grow image by image, and the figures they give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgemtl.compare.reading import Routing
from edgemtl.operators import Array


@dataclass(frozen=True)
class LayerFigures:
    """One layer over all images; A is taken for the truth.

    sqnr_db: power of A, its mean left out, over that of A - B, in decibel; infinite where they are equal, minus
    infinity where B is not finite. cosine: of the angle between A and B. max_abs: the largest difference.
    """

    name: str
    elements: int
    sqnr_db: float
    cosine: float
    max_abs: float


@dataclass(frozen=True)
class RouterFigures:
    """One router over all images.

    choices: (token, expert) pairs of A. agreement: the share of them B chose too; weighted: the same by A's weights.
    behind: how many of the compared layers come before it.
    """

    name: str
    choices: int
    agreement: float
    weighted: float
    behind: int


@dataclass
class LayerSums:
    """What `LayerFigures` are made from, in float64."""

    count: int = 0
    a: float = 0.0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0
    noise: float = 0.0
    max_abs: float = 0.0

    def add(self, a: Array, b: Array) -> None:
        """Take in one image's values of both sides, of one shape."""
        x, y = (np.asarray(side, np.float64).reshape(-1) for side in (a, b))
        gap = x - y
        self.count += x.size
        self.a += float(x.sum())
        self.aa, self.bb, self.ab = self.aa + _sum(x * x), self.bb + _sum(y * y), self.ab + _sum(x * y)
        self.noise += _sum(gap * gap)
        self.max_abs = float(np.maximum(self.max_abs, np.abs(gap).max(initial=0.0)))

    def figures(self, name: str) -> LayerFigures:
        """The figures so far."""
        signal = max(0.0, self.aa - self.a**2 / max(self.count, 1))
        return LayerFigures(name, self.count, _decibel(signal, self.noise), self._cosine(), self.max_abs)

    def _cosine(self) -> float:
        if self.noise == 0:
            return 1.0
        length = math.sqrt(self.aa) * math.sqrt(self.bb)
        return self.ab / length if length > 0 else 0.0


def _sum(values: Array) -> float:
    return float(values.sum())


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


@dataclass
class RouterSums:
    """What `RouterFigures` are made from."""

    choices: int = 0
    agreed: int = 0
    weight: float = 0.0
    agreed_weight: float = 0.0

    def add(self, a: Routing, b: Routing) -> None:
        """Take in one image's choices of both sides, of the same tokens."""
        same = (a.experts[:, :, None] == b.experts[:, None, :]).any(-1)
        self.choices += same.size
        self.agreed += int(same.sum())
        self.weight += float(a.weights.sum())
        self.agreed_weight += float(a.weights[same].sum())

    def figures(self, name: str, behind: int) -> RouterFigures:
        """The figures so far; weights that are all 0 count as agreed."""
        weighted = self.agreed_weight / self.weight if self.weight > 0 else 1.0
        return RouterFigures(name, self.choices, self.agreed / max(self.choices, 1), weighted, behind)
