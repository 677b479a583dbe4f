"""The law of generic operators against integer formulas in Python integers, and the real functions in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgemtl.hw import law_generic, law_weightless
from edgemtl.hw.arith import encode_scale, pack_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_generic import NormRows
from tests.hw.draws import ints

BYTES, SHORTS = Finish("int8", -7, -100), Finish("int16")


def half_up(value: int, shift: int) -> int:
    return (value + (1 << shift - 1)) >> shift


@pytest.mark.parametrize("how", [BYTES, SHORTS, Finish("int16", 0, 0)])
def test_a_product_in_python_integers(how: Finish) -> None:
    a, b = ints(-128, 127, 2, 3, 5), ints(-128, 127, 5, 4)
    got = law_generic.product(a, b, (-128, 9), 100_003, 22, how)
    low, high = how.limits
    for i, row, column in np.ndindex(2, 3, 4):
        total = sum((int(a[i, row, k]) + 128) * (int(b[k, column]) - 9) for k in range(5))
        value = half_up(total * 100_003, 22) + (how.zero if how.dtype == "int8" else 0)
        assert got[i, row, column] == min(max(value, low), high)


def test_a_product_at_its_ends_keeps_within_31_bits() -> None:
    """The parts that kernels add up: unsigned bytes times bytes, and what zeros take off."""
    most = law_generic.MOST_DEPTH * (255 * 128 + 2 * 128 * 128 + 128 * 128)
    assert most < 2**31
    a = np.full((1, law_generic.MOST_DEPTH), -128)
    got = law_generic.product(a, a.T, (127, 127), 2**16, 31, SHORTS)
    assert got[0, 0] == half_up(law_generic.MOST_DEPTH * 255 * 255 * 2**16, 31)


def softmax_parts(scale: float, result: float) -> tuple[int, int, int, int]:
    mul, shift = encode_scale(scale * 64 / math.log(2) / 2**8)
    out_mul, out_shift = encode_scale(1 / result / 2**16)
    return mul, shift - 8, out_mul, out_shift - 16


@pytest.mark.parametrize(("dtype", "deviation"), [("int8", 30), ("int16", 4000), ("int16", 12000)])
@pytest.mark.parametrize("width", [1, 5, 64, 3000])
def test_a_softmax_within_its_bound(dtype: str, deviation: int, width: int) -> None:
    rng, ends = np.random.default_rng(width), np.iinfo(dtype)
    x = np.clip(rng.normal(0, deviation, (40, width)), ends.min, ends.max).astype(dtype)
    scale, result = 12 / ends.max, 1 / 255
    got = law_generic.softmax(x, *softmax_parts(scale, result), Finish("int8", -128))
    real = np.exp((x - x.max(-1, keepdims=True).astype(np.int64)) * scale)
    real /= real.sum(-1, keepdims=True)
    bound = 0.011 * real / result + 0.5 + width * 2.0**-16 * real.max(-1, keepdims=True) / result
    error = np.abs((got.astype(np.int64) + 128) - real / result)
    assert (error <= bound + 1e-9).all()
    assert error.max() < 1.9


def test_a_softmax_of_equal_elements_is_exact() -> None:
    for width in (1, 3, 100, law_generic.MOST_SOFTMAX):
        x = np.full((1, width), -5, np.int16)
        got = law_generic.softmax(x, *softmax_parts(0.001, 2.0**-15), SHORTS)
        assert np.abs(got / 2.0**15 - np.minimum(1 / width, 1 - 2.0**-15)).max() <= 2.0**-16 + 2.0**-16 / width
        assert len(np.unique(got)) == 1


def test_masked_scores_are_nothing() -> None:
    x = np.array([[0, 100, -(2**15), 50]], np.int16)
    got = law_generic.softmax(x, *softmax_parts(0.02, 1 / 255), Finish("int8", -128))
    assert got[0, 2] == -128
    assert got[0, 1] > got[0, 3] > -128


@pytest.mark.parametrize("is_centred", [True, False])
@pytest.mark.parametrize(
    ("dtype", "zero", "region"),
    [
        ("int8", -20, NormRows(6, 1, 200, 6)),
        ("int8", 5, NormRows(3, 4, 50, 12)),
        ("int16", 0, NormRows(8, 96, 1, 96)),
        ("int16", 0, NormRows(2, 2048, 1, 2048)),
    ],
)
def test_a_normalisation_within_its_bound(dtype: str, zero: int, region: NormRows, is_centred: bool) -> None:
    rng, ends = np.random.default_rng(region.rows), np.iinfo(dtype)
    x = rng.integers(ends.min, ends.max + 1, (region.rows, region.width)).astype(dtype)
    gamma, beta, unit = rng.normal(0, 1, region.parameters), rng.normal(0, 1, region.parameters), 3 / 2**12
    encoded = [encode_scale(abs(g) / unit / 2.0**law_generic.NORM_OCTAVES) for g in gamma]
    words = pack_scale(*np.array(encoded).T) * np.sign(gamma).astype(int)
    offset = np.rint(beta / unit).astype(np.int32)
    got = law_generic.normalise(x, zero, 1, is_centred, region, words, offset, SHORTS)
    wide = x.astype(np.float64) - zero
    centred = wide - wide.mean(-1, keepdims=True) * is_centred
    real = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1 / region.width**2)
    channel = (np.arange(region.rows)[:, None] * region.channels + np.arange(region.width) // region.inner) % len(gamma)
    real = real * gamma[channel]
    error = np.abs(got - real / unit - offset[channel])
    assert (error <= 0.5 + np.abs(real / unit) * 2.5 * 2.0**-16 + 2.0**-17 * np.abs(real / unit)).all()


def test_a_row_without_deviation_is_its_offset() -> None:
    region = NormRows(1, 4, 2, 4)
    scale, offset = pack_scale(np.full(4, 2**17 - 1), np.full(4, 13)), np.array([3, -4, 5, 6])
    got = law_generic.normalise(np.full((1, 8), 9, np.int8), 0, 1, True, region, scale, offset, BYTES)
    assert got[0].tolist() == [-4, -4, -11, -11, -2, -2, -1, -1]


def test_a_curve_in_python_integers() -> None:
    table = ints(-(2**15), 2**15 - 1, 257)
    x = np.array([-(2**15), -(2**15) + 1, -1, 0, 255, 256, 2**15 - 1])
    for value, got in zip(x.tolist(), law_weightless.curve(x, table).tolist(), strict=True):
        knot, fraction = divmod(value + 2**15, 256)
        low, high = int(table[knot]), int(table[knot + 1])
        assert got == low + half_up((high - low) * fraction, 8)


def test_a_curve_of_a_sigmoid() -> None:
    """Half an LSB of the knots, half an LSB, and an eighth of the step squared times the largest second derivative."""
    scale, unit = 12 * 1.25 / 2**15, 1.25 / 2**15
    knots = 1 / (1 + np.exp(-(np.arange(257) * 256.0 - 2**15) * scale))
    x = np.arange(-(2**15), 2**15)
    got = law_weightless.curve(x, np.rint(knots / unit).astype(np.int16))
    error = np.abs(got - 1 / (1 + np.exp(-x * scale)) / unit)
    assert error.max() <= 1 + (256 * scale) ** 2 / 8 * 0.0963 / unit
