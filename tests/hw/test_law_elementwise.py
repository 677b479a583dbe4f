"""The law of sums, products, tables, pools and resizes, against Fractions one number at a time and real functions."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.hw import law_weightless
from edgemtl.hw.arith import encode_ratios, encode_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weightless import RATIO_BITS, TAP_BITS, Windows
from tests.hw import oracle

BYTES = np.arange(-128, 128).astype(np.int8)


def ints(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(low, high + 1, shape)


def finished(value: Fraction, how: Finish) -> int:
    if how.dtype == "int16":
        return oracle.clamp(oracle.nearest(value), 16)
    return max(how.low, oracle.clamp(oracle.nearest(value) + how.zero, 8))


@pytest.mark.parametrize("how", [Finish("int8", -3), Finish("int8", -128), Finish("int8", 5, -20), Finish("int16")])
@pytest.mark.parametrize("scales", [(0.031, 0.017, 0.05), (1.9, 0.0003, 0.7), (0.02, -0.02, 0.01)])
def test_add_every_pair_of_bytes(how: Finish, scales: tuple[float, float, float]) -> None:
    first, second, result = scales
    muls, shift = encode_ratios((first / result, second / result), RATIO_BITS, "a sum")
    zeros = (-7, 11)
    offset = -(zeros[0] * muls[0] + zeros[1] * muls[1])
    a, b = BYTES[:, None], BYTES[None]
    y = law_weightless.add(a, b, muls, offset, shift, how)
    assert y.dtype == how.dtype
    for i, j in itertools.product(range(0, 256, 17), range(256)):
        total = (int(BYTES[i]) - zeros[0]) * muls[0] + (int(BYTES[j]) - zeros[1]) * muls[1]
        assert y[i, j] == finished(Fraction(total, 2**shift), how)
    real = ((a - float(zeros[0])) * first + (b - float(zeros[1])) * second) / result
    low, high = (how.low - how.zero, 127 - how.zero) if how.dtype == "int8" else (-32768, 32767)
    bound = 0.5 + 2.0**-RATIO_BITS * 256 * (max(abs(first), abs(second)) / result) * 2
    assert np.abs(y.astype(float) - (how.zero if how.dtype == "int8" else 0) - np.clip(real, low, high)).max() <= bound


def test_add_keeps_within_32_bits_at_the_ends_of_int16() -> None:
    ends = np.array([-(2**15), 2**15 - 1]).astype(np.int16)
    largest = 2**RATIO_BITS - 1
    for muls in ((largest, largest), (largest, -largest)):
        total = ends.astype(np.int64)[:, None] * muls[0] + ends.astype(np.int64) * muls[1] + 2**23 + 2**28
        assert np.abs(total).max() < 2**31
        y = law_weightless.add(ends[:, None], ends, muls, 0, 13, Finish("int16"))
        exact = [[Fraction(int(a) * muls[0] + int(b) * muls[1], 2**13) for b in ends] for a in ends]
        assert y.tolist() == [[finished(value, Finish("int16")) for value in row] for row in exact]


@pytest.mark.parametrize("how", [Finish("int8", 9), Finish("int16")])
@pytest.mark.parametrize("ratio", [1 / 255, 0.0021, 3.7])
def test_multiply_every_pair_of_bytes(how: Finish, ratio: float) -> None:
    (mul,), shift = encode_ratios((ratio,), RATIO_BITS, "a product")
    zeros = (-128, 3)
    y = law_weightless.multiply(BYTES[:, None], BYTES[None], zeros, mul, shift, how)
    for i, j in itertools.product(range(0, 256, 15), range(256)):
        product = (int(BYTES[i]) - zeros[0]) * (int(BYTES[j]) - zeros[1]) * mul
        assert abs(product) + 2 ** (shift - 1) < 2**31
        assert y[i, j] == finished(Fraction(product, 2**shift), how)


def test_ratios_share_a_shift_and_keep_their_bits() -> None:
    for largest in (2.0**-20, 0.3, 1.0, 0.99999, 8191.0):
        muls, shift = encode_ratios((largest, -largest / 3), RATIO_BITS, "a sum")
        assert 1 <= shift <= 29
        assert 2 ** (RATIO_BITS - 1) <= muls[0] < 2**RATIO_BITS or shift == 29
        assert abs(muls[0] * 2.0**-shift - largest) <= 2.0 ** -(shift + 1)
        assert abs(muls[1] * 2.0**-shift + largest / 3) <= 2.0**-shift
    with pytest.raises(
        UnsupportedError, match="must be below 8192 times the result's, not 8192; keep the layer in float"
    ):
        encode_ratios((8192.0,), RATIO_BITS, "a sum")


@pytest.mark.parametrize("tables", [1, 5])
def test_lookup_takes_the_entry_of_each_byte(tables: int) -> None:
    table = ints(-128, 127, tables, 256).astype(np.int8)
    x = np.repeat(BYTES[:, None], 5, 1)
    y = law_weightless.lookup(x, table)
    assert y.dtype == np.int8
    expected = [[table[column if tables > 1 else 0][int(byte) + 128] for column in range(5)] for byte in BYTES]
    assert y.tolist() == [[int(entry) for entry in row] for row in expected]


WINDOWS = [
    Windows(6, 7, 6, 7, (3, 3), (1, 1), (1, 1)),
    Windows(6, 7, 3, 4, (3, 2), (2, 2), (1, 0)),
    Windows(9, 8, 4, 2, (2, 3), (2, 3), (0, 0), (2, 1)),
    Windows(5, 4, 1, 1, (5, 4)),
    Windows(5, 5, 3, 3, (3, 3), (2, 2), (0, 0)),
]
"""The last has windows that reach beyond the end, as ceil_mode makes them."""


def inside(windows: Windows, row: int, column: int) -> list[tuple[int, int]]:
    """Pixels of the image under a window."""
    places = itertools.product(range(windows.kernel[0]), range(windows.kernel[1]))
    pixels = [
        (
            row * windows.stride[0] - windows.pad[0] + ky * windows.dilation[0],
            column * windows.stride[1] - windows.pad[1] + kx * windows.dilation[1],
        )
        for ky, kx in places
    ]
    return [(y, x) for y, x in pixels if 0 <= y < windows.height and 0 <= x < windows.width]


@pytest.mark.parametrize("windows", WINDOWS)
def test_pools(windows: Windows) -> None:
    x = ints(-128, 127, windows.height, windows.width, 3).astype(np.int8)
    largest = law_weightless.max_pool(x, windows)
    zero, out_zero = -5, 17
    counts = windows.counts(False)
    scales = [encode_scale(1.3 / int(count)) for count in counts.reshape(-1)]
    mul, shift = (np.array(part) for part in zip(*scales, strict=True))
    mean = law_weightless.average_pool(x, windows, zero, mul, shift, Finish("int8", out_zero))
    assert largest.shape == mean.shape == (windows.out_height, windows.out_width, 3)
    for row, column in itertools.product(range(windows.out_height), range(windows.out_width)):
        pixels = inside(windows, row, column)
        assert counts[row, column] == len(pixels)
        at = row * windows.out_width + column
        for channel in range(3):
            seen = [int(x[y, w, channel]) for y, w in pixels]
            assert largest[row, column, channel] == max(seen)
            total = sum(value - zero for value in seen)
            exact = oracle.clamp(oracle.requantise(total, int(mul[at]), int(shift[at])) + out_zero, 8)
            assert mean[row, column, channel] == exact
            real = np.clip(1.3 * total / len(seen) + out_zero, -128, 127)
            assert abs(exact - real) <= 0.5 + 400 * 2.0**-17


@pytest.mark.parametrize("bits", [8, 16])
def test_resample_against_fractions_and_keeps_constants(bits: int) -> None:
    """Lines of 16 bits are rounded to eighths in between; against one rounding that is 1/8 LSB more at most."""
    rng = np.random.default_rng(3)
    height, width, out = 5, 6, (7, 9)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    index = [rng.integers(0, size, (n, 4)).astype(np.int32) for size, n in zip((height, width), out, strict=True)]
    one = 1 << TAP_BITS
    weight = [rng.integers(-200, 900, (n, 4)) for n in out]
    for taps in weight:
        taps[:, 0] += one - taps.sum(1)
    x = ints(low, high, height, width, 2).astype(f"int{bits}")
    y = law_weightless.resample(x, index[0], weight[0], index[1], weight[1])
    for row, column, channel in itertools.product(range(out[0]), range(out[1]), range(2)):
        total = sum(
            int(weight[0][row, i]) * int(weight[1][column, j]) * int(x[index[0][row, i], index[1][column, j], channel])
            for i, j in itertools.product(range(4), range(4))
        )
        real = min(max(Fraction(total, one**2), low), high)
        if bits == 8:
            assert y[row, column, channel] == oracle.clamp(oracle.nearest(real), 8)
        assert abs(int(y[row, column, channel]) - real) <= Fraction(1, 2) + Fraction(bits == 16, 8)
    for value in (low, -1, 0, high):
        constant = np.full((height, width, 1), value, f"int{bits}")
        assert (law_weightless.resample(constant, index[0], weight[0], index[1], weight[1]) == value).all()
