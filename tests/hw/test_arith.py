"""Rounding, scales, reciprocals and exp2 against fractions, and their worst errors against the real functions."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.errors import UnsupportedError
from edgemtl.hw import arith
from tests.hw import oracle
from tests.hw.draws import RNG

INT32_ENDS = [-(2**31), -(2**31) + 1, 2**31 - 2, 2**31 - 1]
SMALL = [-65537, -65536, -3, -2, -1, 0, 1, 2, 3, 65535, 65536]
MULTIPLIERS = [0, 1, 2, 3, 2**16 - 1, 2**16, 2**16 + 1, 2**17 - 1]
SHIFTS = range(16, 48)


def array(values) -> np.ndarray:
    return np.array(values, np.int64)


def around_powers(bits: int) -> list[int]:
    """2^n and its neighbours: positive and below 2^bits."""
    return sorted({2**n + d for n in range(bits + 1) for d in (-1, 0, 1) if 0 < 2**n + d < 2**bits})


def spread(bits: int, count: int) -> list[int]:
    """Random integers of every length up to ``bits``."""
    return [int(2**x) for x in RNG.uniform(0, bits, count)]


class TestRequantise:
    def test_every_corner_rounds_half_up(self):
        for mul, shift in itertools.product(MULTIPLIERS, SHIFTS):
            accs = INT32_ENDS + SMALL
            expected = [oracle.requantise(acc, mul, shift) for acc in accs]
            assert arith.requantise(array(accs), mul, shift).tolist() == expected, (mul, shift)

    @pytest.mark.parametrize(("mul", "shift"), [(2**16, 17), (1, 16), (2**16, 46)])
    def test_halves_go_up_on_both_sides_of_zero(self, mul, shift):
        half = Fraction(2 ** (shift - 1), mul)
        assert half.denominator == 1
        accs = array([odd * int(half) for odd in (-5, -3, -1, 1, 3, 5) if abs(odd * half) < 2**31])
        expected = [math.ceil(acc / (2 * half)) for acc in accs.tolist()]
        assert arith.requantise(accs, mul, shift).tolist() == expected
        assert len(accs) >= 4

    @given(
        st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1),
        st.integers(0, 2**17 - 1),
        st.integers(*arith.SHIFT_RANGE),
    )
    def test_any_sum(self, accs, mul, shift):
        assert arith.requantise(array(accs), mul, shift).tolist() == [oracle.requantise(a, mul, shift) for a in accs]

    def test_a_multiplier_and_a_shift_a_channel(self):
        accs, muls, shifts = array([[7, -7], [2**31 - 1, -(2**31)]]), array([2**17 - 1, 2**16]), array([12, 43])
        columns = zip(accs.T.tolist(), muls.tolist(), shifts.tolist(), strict=True)
        expected = [[oracle.requantise(acc, mul, shift) for acc in column] for column, mul, shift in columns]
        assert arith.requantise(accs, muls, shifts).T.tolist() == expected

    def test_products_are_exact_in_float64(self):
        for acc, mul in itertools.product(INT32_ENDS, MULTIPLIERS):
            assert int(float(acc) * float(mul)) == acc * mul
            assert abs(acc * mul) < 2**48


def test_scales_of_twenty_bits():
    """Their words come back, side by side with those of 17 bits; 2^-20 of the scale."""
    for scale in [2.0**-27, 31.9, 1.0, 1 / 3, *np.exp(RNG.uniform(math.log(2**-27), math.log(31), 2000))]:
        mul, shift = arith.encode_scale(float(scale), bits=20)
        assert abs(Fraction(mul, 2**shift) / Fraction(float(scale)) - 1) <= Fraction(1, 2**20)
        words = np.array([*arith.pack_scales([scale], "it", 20), *arith.pack_scales([scale], "it")])
        muls, shifts = arith.unpack_scale(words)
        assert (muls[0], shifts[0]) == (mul, shift)
        assert (muls[1], shifts[1]) == arith.encode_scale(float(scale))


def test_round_shift_by_one_and_by_many():
    values = [-9, -8, -7, -2, -1, 0, 1, 2, 7, 8, 9, 2**52]
    for shift in (1, 2, 3, 8, 47):
        expected = [oracle.nearest(Fraction(value, 2**shift)) for value in values]
        assert arith.round_shift(array(values), shift).tolist() == expected


def test_saturate_stops_at_both_ends():
    assert arith.saturate(array([-129, -128, 0, 127, 128, 2**40]), -128, 127).tolist() == [-128, -128, 0, 127, 127, 127]


class TestScales:
    def test_relative_error_is_at_most_2_to_the_minus_17(self):
        top = math.nextafter(32 - 2.0**-13, 0)
        powers = [s for n in range(-27, 5) for s in (2.0**n, math.nextafter(2.0**n, 64))]
        below = [math.nextafter(2.0**n, 0) for n in range(-26, 5)]
        middles = [(2**16 + 0.5) * 2.0 ** -(n + 12) for n in range(31)]
        worst = Fraction(0)
        for scale in [top, *powers, *below, *middles, *(2.0 ** RNG.uniform(-27, 4.99, 3000)).tolist()]:
            mul, shift = arith.encode_scale(scale)
            assert 2**16 <= mul < 2**17
            assert 12 <= shift <= 43
            worst = max(worst, abs(Fraction(mul, 2**shift) / Fraction(scale) - 1))
        assert Fraction(99, 100) < worst * 2**17 <= 1

    def test_the_nearest_multiplier_is_taken(self):
        for scale in (2.0 ** RNG.uniform(-60, 4.99, 2000)).tolist():
            mul, shift = arith.encode_scale(scale)
            assert abs(mul - Fraction(scale) * 2**shift) <= Fraction(1, 2)

    def test_scales_too_small_for_the_shift_lose_bits_and_vanish(self):
        assert arith.encode_scale(2.0**-27) == (2**16, 43)
        assert arith.encode_scale(2.0**-36) == (2**7, 43)
        assert arith.encode_scale(2.0**-44) == (1, 43)
        assert arith.encode_scale(2.0**-46) == (0, 43)

    def test_nothing_is_a_scale_of_zero(self):
        assert arith.encode_scale(0.0) == (0, 12)

    def test_a_mantissa_that_rounds_to_the_next_power(self):
        assert arith.encode_scale(1 - 2.0**-20) == (2**16, 16)
        assert arith.encode_scale(math.nextafter(32 - 2.0**-13, 0)) == (2**17 - 1, 12)

    @pytest.mark.parametrize(
        ("scale", "printed"), [(32.0, "32"), (-0.5, "-0.5"), (1e9, "1e+09"), (math.nan, "nan"), (math.inf, "inf")]
    )
    def test_a_scale_outside_the_range_is_refused(self, scale, printed):
        text = (
            f"block 3 fc1: the scale of a requantisation must be at least 0 and below 32, not {printed}; "
            "calibrate on images like those the model is used on, or keep the layer in float (--keep-float)"
        )
        with pytest.raises(UnsupportedError, match=f"^{re.escape(text)}$"):
            arith.encode_scale(scale, "block 3 fc1")

    def test_the_first_scale_that_would_round_to_32_is_refused(self):
        with pytest.raises(UnsupportedError, match=r"^a scale: the scale of a requantisation must be at least 0"):
            arith.encode_scale(32 - 2.0**-13)

    def test_words_hold_every_multiplier_and_shift(self):
        mul, shift = (a.ravel() for a in np.meshgrid(MULTIPLIERS, SHIFTS))
        words = arith.pack_scale(mul, shift)
        assert words.dtype == np.int32
        assert words.tolist() == [s * 2**17 + m for m, s in zip(mul.tolist(), shift.tolist(), strict=True)]
        assert 0 <= words.min() <= words.max() < 2**23
        back = arith.unpack_scale(words)
        np.testing.assert_array_equal(back, (mul, shift))


def test_bit_length_is_pythons():
    values = [0, *around_powers(53), *spread(53, 500)]
    assert arith.bit_length(array(values)).tolist() == [value.bit_length() for value in values]


class TestReciprocal:
    def test_bits(self):
        values = around_powers(31) + spread(31, 3000)
        mantissa, exponent = arith.reciprocal(array(values))
        assert list(zip(mantissa.tolist(), exponent.tolist(), strict=True)) == [oracle.reciprocal(v) for v in values]

    def test_error_is_below_2_to_the_minus_16_and_never_positive(self):
        values = np.concatenate([np.arange(1, 2**17), around_powers(31), RNG.integers(2**17, 2**31, 200_000)])
        mantissa, exponent = arith.reciprocal(values)
        assert mantissa.min() == 2**16
        assert mantissa.max() == 2**17 - 1
        missing = (np.int64(1) << (16 + exponent)) - mantissa * values  # of 2^(16 + exponent): the relative error
        assert missing.min() >= 0
        relative = np.ldexp(missing.astype(float), -exponent)
        assert 0.99 < relative.max() < 1  # in units of 2^-16


class TestReciprocalSqrt:
    def test_bits(self):
        values = around_powers(53) + spread(53, 3000)
        mantissa, exponent = arith.reciprocal_sqrt(array(values))
        expected = [oracle.reciprocal_sqrt(value) for value in values]
        assert list(zip(mantissa.tolist(), exponent.tolist(), strict=True)) == expected

    @pytest.mark.parametrize("exponent", [0, 1, 9])
    def test_every_root_at_both_of_its_ends(self, exponent):
        """All mantissas: a root serves the values from its square to the next square, so the ends are the worst."""
        root = np.arange(2**16, 2**17)
        first, last = root**2 << 2 * exponent, ((root + 1) ** 2 << 2 * exponent) - 1
        for values in (first, last[:-1]):  # the last one of all belongs to the next exponent's first root, or is 2^53
            mantissa, found = arith.reciprocal_sqrt(values)
            assert (found == exponent).all()
            expected = np.minimum(2**33 // root[: len(values)], 2**17 - 1)
            np.testing.assert_array_equal(mantissa, expected)
            assert 2**16 <= mantissa.min()
            assert mantissa.max() < 2**17
            relative = mantissa * np.sqrt(values.astype(float)) / 2.0 ** (33 + exponent) - 1
            assert np.abs(relative).max() < 2.0**-16
            assert np.abs(relative).max() > 0.99 * 2.0**-16

    def test_the_last_value_of_an_even_length(self):
        values = [4**n - 1 for n in range(1, 27)]
        mantissa, exponent = arith.reciprocal_sqrt(array(values))
        real = [1 / math.sqrt(value) for value in values]
        np.testing.assert_allclose(np.ldexp(mantissa.astype(float), -(33 + exponent)), real, rtol=2.0**-16)


def test_the_product_of_two_mantissas_keeps_16_bits():
    one, other = np.meshgrid(np.arange(2**16, 2**17, 509), [*range(2**16, 2**17, 4093), 2**17 - 1])
    product = arith.scale_mantissa(one, other)
    expected = [oracle.scale_mantissa(a, b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)]
    assert product.ravel().tolist() == expected
    relative = np.abs(product * 2.0**17 / (one * other) - 1).max()
    assert 0.9 * 2.0**-16 < relative <= 2.0**-16
    assert arith.scale_mantissa(array([2**17 - 1]), 2**17).tolist() == [2**17 - 1]


class TestExp2:
    DISTANCES = array(range(20 * 128))

    def test_table_is_rounded_to_16_bits(self):
        assert arith.EXP2_TABLE.tolist() == oracle.TABLE
        assert oracle.TABLE[0] == 65280
        assert arith.FINE_EXP2_TABLE.tolist() == oracle.FINE_TABLE

    @pytest.mark.parametrize(
        ("function", "expected", "largest", "octave", "last", "low", "high"),
        [
            (arith.exp2_byte, oracle.exp2_byte, 255, 64, 9 * 64 - 1, 0.499, 0.5),
            (arith.exp2_fine, oracle.exp2_fine, 4080, 128, 13 * 128 - 1, 0.499, 0.54),
            (arith.exp2_wide, oracle.exp2_wide, 65280, 64, 17 * 64 - 1, 0.745, 0.746),
        ],
    )
    def test_every_distance(self, function, expected, largest, octave, last, low, high):
        got = function(self.DISTANCES)
        assert got.tolist() == [expected(distance) for distance in self.DISTANCES.tolist()]
        assert got[0] == largest
        assert (np.diff(got) <= 0).all()
        assert np.flatnonzero(got).tolist() == list(range(last + 1))
        worst = np.abs(got - largest * 2.0 ** (-self.DISTANCES / octave)).max()
        assert low < worst <= high

    @pytest.mark.parametrize("function", [arith.exp2_byte, arith.exp2_wide])
    def test_any_further_distance_is_zero(self, function):
        assert not function(array([17 * 64, 65535, 2**31, 2**40])).any()
