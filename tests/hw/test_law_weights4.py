"""The expansion of weights in 4 bits against Python's integers, and its bounds over every code and multiplier."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from edgemtl.hw.law_weights4 import CODES, GROUP, MULTIPLIERS, CodedWeight, expand, pack_codes, spread, unpack_codes

ALL = list(itertools.product(range(CODES[0], CODES[1] + 1), range(MULTIPLIERS[0], MULTIPLIERS[1] + 1)))


def test_every_code_and_multiplier() -> None:
    codes, multipliers = (np.array(side, np.int8) for side in zip(*ALL, strict=True))
    weights = expand(codes, multipliers)
    assert weights.dtype == np.int8
    assert weights.tolist() == [(code * multiplier + 4) // 8 for code, multiplier in ALL]
    assert (weights.min(), weights.max()) == (-127, 127)
    errors = [abs(Fraction(c * m, 8) - w) for (c, m), w in zip(ALL, weights.tolist(), strict=True)]
    assert max(errors) == Fraction(1, 2)


def test_it_is_one_rounding_high_product_of_16_bits() -> None:
    assert all((code * 4096 * multiplier + 16384) >> 15 == (code * multiplier + 4) >> 3 for code, multiplier in ALL)


def test_the_largest_weight_of_a_group_is_exact() -> None:
    """With its negative as the multiplier, the code -8 gives any weight there is."""
    weights = np.arange(-127, 128)
    assert (expand(np.full(255, -8), -weights) == weights).all()


@pytest.mark.parametrize("rows", [1, 2, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP + 5])
def test_codes_and_multipliers_belong_to_their_rows(rows: int) -> None:
    random = np.random.default_rng(rows)
    codes = random.integers(-8, 8, (rows, 5)).astype(np.int8)
    multipliers = random.integers(-127, 128, (-(-rows // GROUP), 5)).astype(np.int8)
    packed = pack_codes(codes)
    assert (packed.dtype, packed.shape) == (np.uint8, (-(-rows // 2), 5))
    assert (unpack_codes(packed, rows) == codes).all()
    assert spread(multipliers, rows).shape == codes.shape
    coded = CodedWeight(rows, packed, multipliers)
    expected = [
        [(int(codes[row, n]) * int(multipliers[row // GROUP, n]) + 4) >> 3 for n in range(5)] for row in range(rows)
    ]
    assert coded.expand().tolist() == expected
    assert coded.nbytes == (-(-rows // 2) + -(-rows // GROUP)) * 5
