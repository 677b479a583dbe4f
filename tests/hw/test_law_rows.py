"""LayerNorm and attention of the law against a loop, and against the real functions on rows made to hurt."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.hw import law
from tests.hw import oracle
from tests.hw.draws import RNG, ints

STEP = 2 ** (1 / 128) - 1
"""Half a step of a score with 6 fraction bits: 0.543%."""
MULTIPLIERS = 2.5 * 2.0**-16
"""Reciprocal, product of mantissas and the multiplier itself, together."""


def mantissa(scale: float) -> tuple[int, int]:
    """The nearest 17-bit multiplier and its shift, for scales above 2 too."""
    exponent = math.frexp(scale)[1]
    return round(scale * 2.0 ** (17 - exponent)), 17 - exponent


def with_outlier(width: int, value: int) -> np.ndarray:
    row = ints(-3, 3, width)
    row[width // 2] = value
    return row


NORM_ROWS = {
    "one outlier in 1024": lambda: with_outlier(1024, 32767),
    "a negative outlier": lambda: with_outlier(192, -32768),
    "an outlier in zeros": lambda: np.eye(1, 1024, 7, dtype=np.int64)[0] * -32768,
    "all equal": lambda: np.full(384, 32767),
    "all equal but one by one": lambda: 32766 + np.eye(1, 768, 3, dtype=np.int64)[0],
    "mean far above deviation": lambda: 32760 + ints(0, 1, 1024),
    "mean far below deviation": lambda: -32768 + ints(0, 40, 192),
    "half at either end": lambda: np.where(np.arange(1024) % 2, 32767, -32768),
    "zeros": lambda: np.zeros(16, np.int64),
    "width 1": lambda: np.array([-31000]),
    "width 2": lambda: np.array([-32768, 32767]),
    "noise": lambda: ints(-4000, 4000, 1024),
    "faint noise": lambda: ints(-1, 1, 192),
}


class TestLayerNorm:
    @staticmethod
    def real(x: np.ndarray, epsilon: float, scale: float) -> np.ndarray:
        """Two passes in float64."""
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon / x.shape[-1] ** 2) * scale

    @pytest.mark.parametrize("name", NORM_ROWS)
    @pytest.mark.parametrize("epsilon", [1, 3_000_000])
    def test_hard_rows(self, name, epsilon):
        row = NORM_ROWS[name]()
        scale = min(127 / math.sqrt(len(row)), 31.3)
        mul, shift = mantissa(scale)
        halvings, offset = ints(0, 7, len(row)), ints(-9, 9, len(row))
        got = law.layer_norm(row[None], epsilon, mul, shift, halvings, offset)[0]
        assert got.dtype == np.int8
        assert got.tolist() == oracle.layer_norm(row.tolist(), epsilon, mul, shift, halvings.tolist(), offset.tolist())
        few = np.minimum(halvings, 3)
        wide = law.layer_norm(row[None], epsilon, mul, shift - 4, few, offset, wide=True)[0]
        assert wide.dtype == np.int16
        rest = few.tolist(), offset.tolist(), 12
        assert wide.tolist() == oracle.layer_norm(row.tolist(), epsilon, mul, shift - 4, *rest)
        real = self.real(row, epsilon, scale) / 2.0**halvings
        error = np.abs(got - np.clip(real + offset, -128, 127))
        assert (error <= 0.5 + np.abs(real) * MULTIPLIERS).all()

    def test_worst_error_of_many_rows(self):
        """Half a step, with the multipliers' share of a value of 127 on top: less than 0.005 of a step."""
        zeros, worst = np.zeros(192, int), 0.0
        for deviation in (1.5, 30.0, 900.0, 9000.0):
            x = np.clip(np.rint(RNG.standard_normal((400, 192)) * deviation + 3 * deviation), -(2**15), 2**15 - 1)
            got = law.layer_norm(x.astype(np.int64), 40, *mantissa(29.7), zeros, zeros)
            worst = max(worst, np.abs(got - np.clip(self.real(x, 40, 29.7), -128, 127)).max())
        assert 0.5 < worst <= 0.505

    @pytest.mark.parametrize("epsilon", range(1, 12))
    def test_every_unit_of_epsilon_counts(self, epsilon):
        rows, (mul, shift), zeros = [[0, 1, 0], [5, 5, 4], [-1, 1, -1]], mantissa(60.0), [0, 0, 0]
        got = law.layer_norm(np.array(rows), epsilon, mul, shift, np.array(zeros), np.array(zeros))
        assert got.tolist() == [oracle.layer_norm(row, epsilon, mul, shift, zeros, zeros) for row in rows]
        real = self.real(np.array(rows), epsilon, 60.0)
        assert np.abs(got - real).max() <= 0.5 + 127 * MULTIPLIERS

    @pytest.mark.parametrize("mean", [-32768, -20000, 32000])
    def test_the_mean_costs_no_bit(self, mean):
        row, zeros = ints(0, 700, 768), np.zeros(768, int)
        moved = law.layer_norm((row + mean)[None], 5, *mantissa(20.0), zeros, zeros)
        np.testing.assert_array_equal(moved, law.layer_norm(row[None], 5, *mantissa(20.0), zeros, zeros))

    def test_equal_values_become_the_offset(self):
        offset = ints(-128, 127, 64)
        for value in (-32768, -1, 0, 32767):
            got = law.layer_norm(np.full((1, 64), value), 1, *mantissa(30.0), np.zeros(64, int), offset)
            assert got[0].tolist() == offset.tolist()

    def test_the_numerator_fits_the_wide_operand(self):
        n = law.MOST_WIDTH
        row = np.where(np.arange(n), -32768, 32767).tolist()
        assert 2**25 < n * row[0] - sum(row) < 2**26
        assert n * sum(x * x for x in [-32768] * n) < 2**53

    @given(
        st.lists(st.integers(-32768, 32767), min_size=1, max_size=12),
        st.integers(1, 2**30),
        st.floats(0.5, 100),
        st.data(),
    )
    def test_any_row(self, row, epsilon, scale, data):
        halvings = data.draw(st.lists(st.integers(0, 7), min_size=len(row), max_size=len(row)))
        offset = data.draw(st.lists(st.integers(-128, 127), min_size=len(row), max_size=len(row)))
        mul, shift = mantissa(scale)
        got = law.layer_norm(np.array([row]), epsilon, mul, shift, np.array(halvings), np.array(offset))
        assert got[0].tolist() == oracle.layer_norm(row, epsilon, mul, shift, halvings, offset)


def packed(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One head's rows."""
    return np.concatenate([q, k, v], 1).astype(np.int8)


def keys_of(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q and k with 2 channels whose products are ``scores`` for every query; scores within +-16,000."""
    k = np.stack([np.rint(scores / 127), scores - 127 * np.rint(scores / 127)], 1)
    return np.tile([127, 1], (len(scores), 1)), k


class Real:
    """softmax(q k^T) v of one head in float64, and the bound on what the law may differ from it."""

    def __init__(self, qkv: np.ndarray, score_shift: int, scale: float) -> None:
        dim = qkv.shape[1] // 3
        q, k, v = (qkv[:, i * dim :][:, :dim].astype(float) for i in range(3))
        scores = q @ k.T / 2.0 ** (score_shift + 6)
        weights = np.exp2(scores - scores.max(-1, keepdims=True))
        total = weights.sum(-1, keepdims=True)
        self.out = weights @ v / total * scale
        # Each weight is off by half a step of its score, and by half a byte or, where it vanishes, by all of itself.
        # What that moves is at most v's spread.
        byte = np.minimum(0.5 / 255 * 1.01, weights * 1.01).sum(-1, keepdims=True)
        kept = np.maximum(total * (1 - STEP) ** 2 - byte, 1)
        moved = np.minimum((total * (1 + STEP) * STEP + byte) / kept, 1)
        self.bound = 0.5 + scale * (v.max(0) - v.min(0)) * moved + np.abs(self.out) * MULTIPLIERS


class TestAttention:
    @given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 8), st.integers(0, 2**32 - 1))
    def test_bits(self, tokens, heads, dim, score_shift, seed):
        rng = np.random.default_rng(seed)
        qkv = rng.integers(-127, 128, (tokens, 3 * heads * dim))
        mul, shift = int(rng.integers(2**16, 2**17)), int(rng.integers(14, 20))
        got = law.attention(qkv, heads, score_shift, mul, shift)
        assert got.dtype == np.int8
        assert got.tolist() == oracle.attention(qkv.tolist(), heads, score_shift, mul, shift)
        wide = law.attention(qkv, heads, score_shift, mul, shift - 4, wide=True)
        assert wide.dtype == np.int16
        assert wide.tolist() == oracle.attention(qkv.tolist(), heads, score_shift, mul, shift - 4, 12)

    def test_one_token_is_its_own_v(self):
        qkv = packed(*(ints(-127, 127, 1, 64) for _ in range(3)))
        np.testing.assert_array_equal(law.attention(qkv, 1, 4, 2**16, 16), qkv[:, 128:])

    @pytest.mark.parametrize("tokens", [2, 65, 2048])
    def test_equal_keys_give_the_mean(self, tokens):
        """Flat rows keep their 8 bits whatever their length."""
        k, v = np.tile(ints(-127, 127, 1, 8), (tokens, 1)), ints(-127, 127, tokens, 8)
        got = law.attention(packed(ints(-127, 127, tokens, 8), k, v), 1, 5, 2**17 - 1, 14)
        real = np.clip(v.mean(0) * (2**17 - 1) / 2**14, -128, 127)
        assert np.abs(got - real).max() <= 0.5 + 127 * MULTIPLIERS

    @pytest.mark.parametrize("tokens", [2, 65, 1025, 2048])
    @pytest.mark.parametrize("outlier", [16_000, 900, 300])
    def test_one_key_above_flat_ones(self, tokens, outlier):
        scores = np.where(np.arange(tokens) == tokens // 2, outlier, 0)
        qkv = packed(*keys_of(scores), ints(-127, 127, tokens, 2))
        real = Real(qkv, 1, 1.0)
        assert (np.abs(law.attention(qkv, 1, 1, 2**16, 16) - real.out) <= real.bound).all()

    @pytest.mark.parametrize(
        ("score_shift", "tokens", "largest", "root_mean_square"),
        [
            (8, 65, 0.6, 0.3),
            (8, 2048, 0.6, 0.3),
            (7, 65, 0.7, 0.3),
            (7, 2048, 0.7, 0.3),
            (6, 65, 1, 0.32),
            (6, 2048, 7, 0.35),
            (5, 2048, 10, 0.9),
        ],
    )
    def test_scores_of_noise(self, score_shift, tokens, largest, root_mean_square):
        """Deviations of 0.55, 1.1, 2.2 and 4.4 powers of 2; rounding alone has a root mean square of 0.289."""
        q, k, v = (np.clip(np.rint(RNG.standard_normal((tokens, 32)) * 40), -127, 127) for _ in range(3))
        qkv = packed(q, k, v)
        real = Real(qkv, score_shift, 1.0)
        error = np.abs(law.attention(qkv, 1, score_shift, 2**16, 16) - real.out)
        assert (error <= real.bound).all()
        assert error.max() < largest
        assert math.sqrt((error**2).mean()) < root_mean_square

    @pytest.mark.parametrize("deviation", [0.3, 1.1, 2.2, 4.4])
    def test_1025_keys_in_12_bits_lose_at_most_one_decibel(self, deviation):
        """Against real softmax of the same integers, both rounded to a twelfth of the bits that 8 would leave."""
        q, k, v = (np.clip(np.rint(RNG.standard_normal((1025, 32)) * 40), -127, 127) for _ in range(3))
        shift = round(np.log2((q @ k.T).std() / deviation)) - 7
        out = Real(packed(q, k, v), shift + 1, 1.0).out
        assert self.loss(packed(q, k, v), shift, out) <= 1

    @pytest.mark.parametrize("octaves", [4, 7, 9])
    def test_a_peak_over_1024_flat_keys_keeps_its_tail_in_12_bits(self, octaves):
        qkv = packed(*keys_of(np.where(np.arange(1025) == 7, octaves * 256, 0)), ints(-127, 127, 1025, 2))
        assert self.loss(qkv, 1, Real(qkv, 2, 1.0).out) <= 1

    @staticmethod
    def loss(qkv: np.ndarray, shift: int, real: np.ndarray) -> float:
        """What the law's bytes lose against the real answer's, in decibel; ``shift`` leaves 7 fraction bits."""
        scale = np.abs(real).max() / 127
        mul, exponent = mantissa(16 / scale)
        wide = law.attention(qkv, 1, shift, mul, exponent, wide=True) / 16
        noise = [((np.rint(y) - real / scale) ** 2).sum() for y in (wide, real / scale)]
        return float(10 * np.log10(noise[0] / noise[1]))

    def test_worst_error_of_two_keys(self):
        """Scores rounded apart by a whole step, bytes by a half, and v at both ends: 0.85 steps beside rounding."""
        worst, none = 0.0, np.zeros((2, 30))
        v = np.stack([np.full(32, 127), np.arange(-127, -95)])
        for distance in range(4, 100 * 16):
            if distance % 16 not in (0, 1, 15):
                continue
            q, k = keys_of(np.array([8008, 8008 - distance]))
            qkv = packed(np.hstack([q, none]), np.hstack([k, none]), v)
            worst = max(worst, np.abs(law.attention(qkv, 1, 4, 2**16, 16) - Real(qkv, 4, 1.0).out).max())
        assert 1.25 < worst < 1.35

    def test_keys_below_half_a_byte_vanish_however_many(self):
        """What 8 bits a weight cost: 2,047 keys of 1/515 the largest weight hold 80% of the sum, and are not seen."""
        scores = np.where(np.arange(2048) == 0, 9 * 128 + 1, 0)
        v = np.where(np.arange(2048)[:, None] == 0, 127, -127) * np.ones(2, int)
        qkv = packed(*keys_of(scores), v)
        real = Real(qkv, 1, 1.0)
        got = law.attention(qkv, 1, 1, 2**16, 16)
        assert (got == 127).all()
        assert (real.out < -75).all()
        assert (np.abs(got - real.out) <= real.bound).all()

    def test_sums_stay_below_2_to_the_28(self):
        assert 255 * 128 * law.MOST_TOKENS < 2**28

    def test_scores_saturate_at_16_bits(self):
        """Beyond 512 powers of 2 scores are equal; only a score shift that is too small gets there."""
        q, k = np.full((2, 40), 127), np.stack([np.full(40, 127), np.full(40, 64)])
        got = law.attention(packed(q, k, np.array([[100], [-100]]) * np.ones(40, int)), 1, 1, 2**16, 16)
        assert not got.any()
