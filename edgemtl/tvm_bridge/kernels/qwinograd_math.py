"""Winograd's algorithm F(4x4, 3x3) in exact integers: the matrices, the bounds, and why nothing is rounded.

Toom and Cook's construction (Lavin and Gray, arXiv 1509.09308) on the points 0, 1, -1, -2, 1/2 and infinity gives
30 Y = A^T [(S G g) * (B^T d)] for a line: B^T, A^T and S G are integer matrices, where S = diag(15, 5, -5, 1, -1, 15)
is 30 over what the construction divides by. In two dimensions Z = 900 Y is a sum of integer products.

Sums are taken modulo 2^32, which addition, subtraction and multiplication respect. 900 = 4 * 225, and 225 has an
inverse modulo 2^32, so Z * 225^-1 is 4 Y modulo 2^32. Where |Y| < 2^29 the signed word is 4 Y itself, and Y is that
word shifted right by 2. No sum on the way needs to fit. The usual points 0, 1, -1, 2 and -2 would lose 6 bits in place
of 2: these lie, two by two, in the three classes of points modulo 2, so every divisor has one factor of 2 a line.

Bounds, for bytes d in -128..127 and weights g in -128..127:
- input: a row of B^T has magnitudes that sum to 14, so |B^T d B| <= 14^2 * 128 = 25,088, which int16 holds;
- weights: a row of S G has magnitudes that sum to 15, so |S G g G^T S| <= 15^2 * 128 = 28,800, which int16 holds;
- a pair of products is below 2^31, so the instruction that adds two of them does not overflow;
- |Y| <= 9 * 128 * 128 * channels < 2^29 up to `MOST_CHANNELS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Value = Any
Binary = Callable[[Value, Value], Value]

MOST_CHANNELS: Final = (2**29 - 1) // (9 * 128 * 128)
"""Input channels whose sums keep below 2^29."""
INVERSE: Final = pow(225, -1, 2**32) - 2**32
"""The inverse of 225 modulo 2^32, as a signed word."""
LOST_BITS: Final = 2
"""How far Z * INVERSE is shifted right."""

WEIGHTS: Final[npt.NDArray[np.int64]] = np.array(
    [[15, 0, 0], [5, 5, 5], [-5, 5, -5], [1, -2, 4], [-4, -2, -1], [0, 0, 15]]
)
"""S G: three weights to six places."""


def input_row(d: Sequence[Value], times: Callable[[Value, int], Value]) -> list[Value]:
    """B^T d: six samples to six places, in 16 bits; ``times`` multiplies by a small constant."""
    # Four times the polynomial (2x - 1)(x + 2) = 2x^2 + 3x - 2 that all but two points share.
    shared = [times(d[k + 2] - d[k], 2) + times(d[k + 1], 3) for k in range(4)]
    outer, inner = d[4] - d[2], d[3] - d[1]
    return [
        shared[2] - shared[0],
        shared[2] + shared[1],
        shared[2] - shared[1],
        times(outer, 2) - inner,
        outer + times(inner, 2),
        shared[3] - shared[1],
    ]


def output_row(m: Sequence[Value], add: Binary, subtract: Binary, shift: Callable[[Value, int], Value]) -> list[Value]:
    """A^T m: six places to four outputs, by operations modulo 2^32; ``shift`` multiplies by a power of two."""
    total, gap = add(m[1], m[2]), subtract(m[1], m[2])
    return [
        add(add(m[0], total), add(m[3], shift(m[4], 3))),
        add(subtract(gap, shift(m[3], 1)), shift(m[4], 2)),
        add(total, add(shift(m[3], 2), shift(m[4], 1))),
        add(add(subtract(gap, shift(m[3], 3)), m[4]), m[5]),
    ]
