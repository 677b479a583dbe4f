"""The law of operators over any axes: products of computed matrices, softmax, normalisation, moves of elements.

In the notation of `law`. Rows are what an operator sums over; a compiler brings other axes behind the others first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import (
    EXP2_FRACTION_BITS,
    Ints,
    exp2_wide,
    reciprocal,
    reciprocal_sqrt,
    requantise,
    saturate,
    scale_mantissa,
    unpack_scale,
)
from edgemtl.hw.law import Finish, finish, matmul

Array = npt.NDArray[Any]

MOST_DEPTH: Final = 2**14
"""Terms of a sum of `product`: it keeps below 2^30, and the parts a kernel adds it up from below 2^31."""
MOST_SOFTMAX: Final = 2**15 - 1
"""Elements of a row of `softmax`: its sum of 16-bit weights keeps below 2^31."""
NORM_OCTAVES: Final = 12
"""Octaves by which one over the LSB of `normalise` may be larger than the scales of a requantisation."""
FURTHEST: Final = 17 << EXP2_FRACTION_BITS
"""The distance from which on a weight of `softmax` is 0: 17 octaves."""


def product(a: Ints, b: Ints, zeros: tuple[int, int], mul: int, shift: int, how: Finish) -> Array:
    """Matrices int8 [.., M, K] times int8 [.., K, N], broadcast as in numpy: finish(sum of (a - zero)(b - zero)).

    K <= 2^14. One mul and shift for all. Against the real product of the same integers: half an LSB and 2^-17 of the
    value.
    """
    sums = matmul(a.astype(np.int64) - zeros[0], b.astype(np.int64) - zeros[1])
    return finish(sums, np.array(mul), np.array(shift), how, None, None)


def softmax(x: Ints, mul: int, shift: int, out_mul: int, out_shift: int, how: Finish) -> Array:
    """Softmax of rows int8 or int16 [M, n], n < 2^15.

    Distances to the row's largest are logarithms to base 2 with 6 fraction bits, requantise(max - x, mul, shift);
    weights p are `exp2_wide` of them. Then p / (sum of p) on the output's scale: requantise(p, m, exponent + out_shift
    - 1), m the product of the mantissas of `reciprocal` and ``out_mul``, plus how.zero, saturated. The zero of x does
    not matter.
    Against the real softmax of the same integers: 1.1% of a value, half an LSB, and for every element 2^-16 of the
    row's largest value.
    """
    wide = x.astype(np.int64)
    distance = np.minimum(requantise(wide.max(-1, keepdims=True) - wide, mul, shift), FURTHEST)
    weight = exp2_wide(distance)
    mantissa, exponent = reciprocal(weight.sum(-1, keepdims=True))
    value = requantise(weight, scale_mantissa(mantissa, out_mul), exponent + out_shift - 1)
    return _placed(value, how)


@dataclass(frozen=True)
class NormRows:
    """Rows that are normalised, each of ``channels`` times ``inner`` elements.

    ``parameters``: how many scales and offsets there are, those of a row one behind the other: the channels of one row,
    which all rows share, or those of all rows.
    """

    rows: int
    channels: int
    inner: int
    parameters: int

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.channels * self.inner


def normalise(
    x: Ints, zero: int, epsilon: int, is_centred: bool, region: NormRows, scale: Ints, offset: Ints, how: Finish
) -> Array:
    """Rows int8 or int16 [M, n] by their deviation, or by the root of their squares: (x - mean) / sd * gamma + beta.

    With x - zero for x: S = sum x, or 0 where not ``is_centred``; V = n sum x^2 - S^2 + epsilon, exact below 2^53.
    1 / sqrt(V) by `reciprocal_sqrt`. Then requantise(+-(n x - S), m, t) + offset + how.zero, saturated: m is the
    product of both mantissas, t = 4 + exponent + shift. ``scale`` [parameters] are words of `pack_scale`, negative for
    a negative gamma, with shifts from 13 on; they are gamma over the LSB and 2^12. ``offset`` [parameters] is beta in
    LSB. ``epsilon`` is at least 1.
    Against the real function of the same epsilon: half an LSB, half an LSB of beta, and 2.5 * 2^-16 of the value.
    """
    wide = x.astype(np.int64) - zero
    total = wide.sum(-1, keepdims=True) * is_centred
    mantissa, exponent = reciprocal_sqrt(region.width * (wide * wide).sum(-1, keepdims=True) - total * total + epsilon)
    first = np.arange(region.rows)[:, None] * region.channels
    channel = (first + np.arange(region.width) // region.inner) % region.parameters
    mul, shift = unpack_scale(np.abs(scale.astype(np.int64)))
    value = np.sign(scale.astype(np.int64))[channel] * (region.width * wide - total)
    value = requantise(value, scale_mantissa(mantissa, mul[channel]), 16 - NORM_OCTAVES + exponent + shift[channel])
    return _placed(value + offset.astype(np.int64)[channel], how)


def move(x: Ints, fill: Ints, index: Ints) -> Array:
    """Blocks of x [M, n] and, behind these, of constants ``fill`` [F, n], in the order of ``index`` [R]: exact."""
    return np.asarray(np.concatenate([x, fill])[index])


def _placed(value: npt.NDArray[np.int64], how: Finish) -> Array:
    zero = how.zero if how.dtype == "int8" else 0
    return saturate(value + zero, *how.limits).astype(how.dtype)
