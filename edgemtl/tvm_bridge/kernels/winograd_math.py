"""Winograd's algorithm F(4x4, 3x3): the matrices, and the transforms as sums of vectors.

Y = A^T [(G g G^T) * (B^T d B)] A by Toom and Cook's construction (Lavin and Gray, arXiv 1509.09308) on the
points 0, 3/4, -3/4, 3/2, -3/2 and infinity: a quarter of the error of 0, 1, -1, 2, -2 at the same cost. B^T
is monic, so the denominators are all in G, which is applied once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Expr = Any

TILE = 4
KERNEL = 3
WINDOW = 6
PLACES = WINDOW**2
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
INNER, OUTER = POINTS[1], POINTS[3]


def weight_matrix(upsample: bool) -> np.ndarray:
    """G, float64 [6, 3]; a quarter of it where the input transform reads four times the enlarged samples."""
    rows = [[p**power for power in range(3)] for p in POINTS]
    scales = [math.prod(p - q for q in POINTS if q != p) for p in POINTS]
    matrix = np.array([[v / s for v in row] for row, s in zip(rows, scales, strict=True)] + [[0.0, 0.0, 1.0]])
    return matrix / 4 if upsample else matrix


def input_row(u: Sequence[Expr], constant: Callable[[float], Expr]) -> list[Expr]:
    """B^T u: six samples to six, even and odd parts shared between a point and its negative."""
    total, product = INNER**2 + OUTER**2, (INNER * OUTER) ** 2
    out = [u[4] - u[2] * constant(total) + u[0] * constant(product)]
    for own, other in ((INNER, OUTER**2), (OUTER, INNER**2)):
        even, odd = u[4] - u[2] * constant(other), (u[3] - u[1] * constant(other)) * constant(own)
        out += [even + odd, even - odd]
    return [*out, u[5] - u[3] * constant(total) + u[1] * constant(product)]


def output_row(r: Sequence[Expr], constant: Callable[[float], Expr]) -> list[Expr]:
    """A^T r: six products to four outputs."""
    inner_sum, inner_gap, outer_sum, outer_gap = r[1] + r[2], r[1] - r[2], r[3] + r[4], r[3] - r[4]
    return [
        r[0] + inner_sum + outer_sum,
        inner_gap * constant(INNER) + outer_gap * constant(OUTER),
        inner_sum * constant(INNER**2) + outer_sum * constant(OUTER**2),
        inner_gap * constant(INNER**3) + outer_gap * constant(OUTER**3) + r[5],
    ]


def upsample_row(low: Sequence[Expr], constant: Callable[[float], Expr]) -> list[Expr]:
    """Four times the six samples of a line upsampled by 2, from the four samples around them."""
    three = constant(3.0)
    pairs = [(low[i], low[i + 1]) for i in range(3)]
    return [sample for a, b in pairs for sample in (a * three + b, b * three + a)]
