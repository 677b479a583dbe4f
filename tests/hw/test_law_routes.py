"""Router and combine of the law against loops, and their worst errors against a real softmax."""

import math
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.hw import law
from tests.hw import oracle
from tests.hw.draws import ints

ONE = 2**law.GATE_BITS


def check(
    logits: np.ndarray, top_k: int, candidates: tuple[int, ...], normalize=False, threshold=0, fraction_bits=10
) -> law.Routes:
    """Every bit against the oracle, and the queues against a counting sort in a loop."""
    how = top_k, candidates, normalize, threshold, fraction_bits
    routes = law.route(logits.astype(np.int16), *how)
    choices = [oracle.route(row, *how) for row in logits.tolist()]
    queues = [[] for _ in candidates]
    for token, chosen in enumerate(choices):
        for place, (expert, _) in enumerate(chosen):
            queues[expert].append((token, place))
    slot, first = np.full((len(logits), top_k), -1), [0]
    for queue in queues:
        for offset, where in enumerate(queue):
            slot[where] = first[-1] + offset
        first.append(first[-1] + len(queue))
    assert routes.weight.tolist() == [[weight for _, weight in chosen] for chosen in choices]
    assert routes.slot.tolist() == slot.tolist()
    assert routes.first.tolist() == first
    assert routes.token.tolist() == [token for queue in queues for token, _ in queue]
    assert {array.dtype for array in vars(routes).values()} == {np.dtype(np.int32)}
    return routes


def real_weights(logits: np.ndarray, top_k: int, candidates: tuple[int, ...], normalize: bool) -> np.ndarray:
    powers = np.exp2((logits - logits.max(-1, keepdims=True)) / 2.0**law.ROUTER_FRACTION_BITS)
    columns = logits[:, candidates]
    order = np.argsort(-columns, -1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(powers[:, candidates], order, -1)
    return chosen / (chosen if normalize else powers).sum(-1, keepdims=True)


@st.composite
def routings(draw: st.DrawFn) -> tuple:
    experts = draw(st.integers(1, 20))
    kept = tuple(sorted(draw(st.sets(st.integers(0, experts - 1), min_size=1))))
    tokens, top_k = draw(st.integers(1, 12)), draw(st.integers(1, min(4, len(kept))))
    reach = draw(st.sampled_from([2, 3000, 8000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.integers(-reach, reach, (tokens, experts), endpoint=True)
    threshold = draw(st.sampled_from([0, 1, 6881, ONE]))
    return logits, top_k, kept, draw(st.booleans()), threshold, draw(st.integers(7, 10))


class TestRoute:
    @given(routings())
    def test_any_routing(self, routing):
        check(*routing)

    @pytest.mark.parametrize("normalize", [False, True])
    def test_256_experts(self, normalize):
        every = tuple(range(256))
        check(ints(-32768, 32767, 40, 256), 8, every, normalize)
        check(ints(-2, 2, 40, 256), 8, every[3::2], normalize)

    def test_ties_take_the_lowest_index(self):
        routes = check(np.full((9, 6), -77), 2, (1, 2, 4, 5))
        assert routes.first.tolist() == [0, 9, 18, 18, 18]
        logits = np.array([[5, 9, 9, 3, 9, 5], [9, 0, 3, 9, 3, 3]])
        assert check(logits, 3, tuple(range(6))).first.tolist() == [0, 1, 2, 4, 5, 6, 6]

    def test_logits_are_compared_with_all_their_bits(self):
        """A difference that the 6 fraction bits of a probability do not see still decides."""
        routes = check(np.array([[100, 101, 99]]), 1, (0, 1, 2))
        assert routes.first.tolist() == [0, 0, 1, 1]

    def test_experts_that_are_no_candidates_are_never_chosen_but_counted(self):
        logits = np.zeros((4, 4), int)
        logits[:, 0] = 1024
        routes = check(logits, 1, (1, 3))
        assert routes.first.tolist() == [0, 4, 4]
        assert np.abs(routes.weight - ONE / 5).max() <= 1
        assert (check(logits, 1, (1, 3), normalize=True).weight == ONE).all()

    def test_an_expert_that_is_no_candidate_may_lead_by_any_distance(self):
        logits = np.array([[20 * 1024, 0, 0], [32767, -32768, -32768]])
        assert (check(logits, 2, (1, 2), normalize=True).weight == ONE // 2).all()
        assert (check(logits, 2, (1, 2)).weight == 0).all()

    def test_the_ends_of_16_bits(self):
        routes = check(np.array([[-32768, 32767], [32767, -32768]]), 2, (0, 1))
        assert routes.weight.tolist() == [[ONE, 0], [ONE, 0]]

    @pytest.mark.parametrize("normalize", [False, True])
    def test_weights_below_the_threshold_become_zero_and_keep_their_slot(self, normalize):
        logits = ints(-3000, 3000, 50, 8)
        free = check(logits, 4, tuple(range(8)), normalize)
        cut = check(logits, 4, tuple(range(8)), normalize, threshold=int(free.weight[7, 1]))
        np.testing.assert_array_equal(cut.weight, np.where(free.weight < free.weight[7, 1], 0, free.weight))
        np.testing.assert_array_equal(cut.slot, free.slot)
        assert cut.weight[7, 1] == free.weight[7, 1] > 0
        assert (cut.weight == 0).any()

    def test_weights_sum_to_at_most_one_and_half_a_unit_each(self):
        for top_k in (1, 2, 3, 7, 16):
            for reach in (0, 1, 700, 5000):
                logits = ints(-reach, reach, 100, 16)
                weight = check(logits, top_k, tuple(range(16)), normalize=True).weight
                assert (2 * weight.sum(-1) <= 2 * ONE + top_k).all()

    @pytest.mark.parametrize("normalize", [False, True])
    @pytest.mark.parametrize("experts", [2, 16, 256])
    def test_error_against_the_real_softmax(self, experts, normalize):
        """1.1% of a weight, 2^-16 of it for every expert, and 2^-15."""
        every = tuple(range(experts))
        for reach in (100, 2000, 20_000):
            logits = ints(-reach, reach, 60, experts)
            real = real_weights(logits, 2, every, normalize)
            error = np.abs(check(logits, 2, every, normalize).weight / ONE - real)
            assert (error <= 0.011 * real + (2 + real * experts) * 2.0**-16).all()
            assert error.max() < 0.002

    def test_worst_relative_error_is_one_step_of_6_bits(self):
        """The chosen one's distance rounded down by half a step, all others' up: 1.1%, not 0.55%."""
        logits = np.full((1, 32), -16 * 64 - 8)
        logits[0, 0], logits[0, 31] = 0, -16 * 64 - 8 + 1
        real = real_weights(logits, 2, tuple(range(32)), False)[0, 1]
        found = check(logits, 2, tuple(range(32))).weight[0, 1] / ONE
        assert 0.009 < found / real - 1 < 0.011


def combined(residual: int, terms: list[tuple[int, int]]) -> int:
    """One value of one token by the law."""
    weight, y = (np.array(column) for column in zip(*terms, strict=True))
    slot = np.arange(len(terms))[None]
    return int(law.combine(y[:, None].astype(np.int16), weight[None], slot, np.array([[residual]], np.int16))[0, 0])


def largest_weights(top_k: int) -> list[int]:
    """As much as rounding lets the weights of a token sum to: 2^15 + k / 2, nearly all of it one weight."""
    return [ONE, *[1] * (top_k // 2), *[0] * top_k][:top_k]


@st.composite
def extremes(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A residual and (weight, result) of up to 6 experts, most of them at or near one end of int16.

    Weights sum to 2^15 + k / 2, or a little less where one would pass 2^15.
    """
    top_k, end = draw(st.integers(1, 6)), draw(st.sampled_from([-32768, 32767]))
    most = ONE + top_k // 2
    cut = st.integers(0, most) | st.sampled_from([0, 1, ONE, ONE + 1]) | st.integers(ONE, most)
    cuts = [0, *sorted(draw(st.tuples(*[cut] * (top_k - 1)))), most]
    near = st.integers(min(end, 32764), max(end, -32765))
    value = st.just(end) | st.just(end) | near | st.just(-1 - end) | st.integers(-32768, 32767)
    terms = [(min(ONE, after - before), draw(value)) for before, after in pairwise(cuts)]
    return draw(st.just(end) | near | value), terms


class TestCombine:
    @given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1))
    def test_any_tokens(self, tokens, top_k, dim, with_residual, seed):
        rng = np.random.default_rng(seed)
        y = rng.integers(-(2**15), 2**15, (tokens * top_k, dim)).astype(np.int16)
        weight = rng.integers(0, ONE // top_k + 2, (tokens, top_k))
        slot = rng.permutation(tokens * top_k).reshape(tokens, top_k)
        residual = rng.integers(-(2**15), 2**15, (tokens, dim)).astype(np.int16) if with_residual else None
        got = law.combine(y, weight, slot, residual)
        assert got.dtype == np.int16
        for t in range(tokens):
            for c in range(dim):
                terms = [(int(weight[t, k]), int(y[slot[t, k], c])) for k in range(top_k)]
                assert got[t, c] == oracle.combine(0 if residual is None else int(residual[t, c]), terms)

    @pytest.mark.parametrize("top_k", [1, 2, 8, 256])
    @pytest.mark.parametrize("value", [-32768, 32767])
    def test_the_largest_sum_fits_int32_and_saturates(self, top_k, value):
        weight = np.array([largest_weights(top_k)])
        assert weight.sum() == ONE + top_k // 2
        assert -(2**31) <= int(weight.sum()) * value + 2**14 < 2**31
        got = law.combine(np.full((top_k, 1), value, np.int16), weight, np.arange(top_k)[None], None)
        assert got.tolist() == [[value]]

    def test_saturates_once_at_the_end(self):
        """The sum of the experts alone lies 4 beyond 16 bits; the residual brings it back."""
        terms = [(weight, -32768) for weight in largest_weights(8)]
        assert [combined(residual, terms) for residual in (0, 4, 7, 32767)] == [-32768, -32768, -32765, -5]

    @settings(max_examples=200)
    @given(extremes())
    def test_every_order_of_saturating_additions_is_the_law(self, drawn):
        residual, terms = drawn
        expected = oracle.combine(residual, terms)
        assert combined(residual, terms) == expected
        sums = {oracle.sum_one_by_one(residual, list(order)) for order in permutations(terms)}
        assert {oracle.clamp(total >> 15, 16) for total in sums} == {expected}

    @pytest.mark.parametrize("top_k", [6, 8, 256])
    @pytest.mark.parametrize(("end", "other"), [(-32768, 32767), (32767, -32768)])
    def test_sums_differ_by_order_where_16_bits_saturate(self, top_k, end, other):
        """Most weights drive a sum out of int32, one drives it back: where it ends depends on order, the value not."""
        ones = top_k // 2
        terms = [(ONE, end), *[(1, end)] * (ones - 1), (1, other), *[(0, other)] * ones][:top_k]
        for order in (terms, terms[::-1], sorted(terms), terms[1:] + terms[:1]):
            assert oracle.clamp(oracle.sum_one_by_one(end, order) >> 15, 16) == combined(end, order) == end
        assert oracle.sum_one_by_one(end, terms) != oracle.sum_one_by_one(end, terms[::-1])

    @pytest.mark.parametrize("top_k", [1, 2, 3, 8, 256, 2**16])
    def test_the_bounds_of_the_proof(self, top_k):
        """Sums keep within 2^31 + (k - 1) 2^14, and what has left int32 comes back by less than 2^30."""
        weight = sum(largest_weights(top_k))
        reach = 2**31 + (top_k - 1) * 2**14
        low, high = (end * 2**15 + 2**14 + weight * end for end in (-32768, 32767))
        assert -reach <= low < high <= reach
        assert (low == -reach) == (top_k % 2 == 0)
        # The least weight, 2^15 + 1/2 rounded up, that leads out of int32, and what the rest of the weights can undo.
        spent = math.ceil(Fraction(2**31 - (32767 * 2**15 + 2**14), 2**15))
        undone = max(weight - spent, 0) * 2**15
        assert undone <= (top_k - 1) * 2**14 < 2**30
        assert (2**31 - 1 - undone) >> 15 >= 32767
        assert (undone - 2**31) >> 15 <= -32768

    def test_routes_bring_every_token_its_own_outputs(self):
        """Experts that return their input: combine gives the token back, but for the sum of its weights."""
        tokens = ints(-30000, 30000, 60, 5)
        routes = law.route(ints(-3000, 3000, 60, 8).astype(np.int16), 3, tuple(range(8)), True, 0)
        got = law.combine(tokens[routes.token], routes.weight, routes.slot, None)
        short = np.abs(routes.weight.sum(-1, keepdims=True) / ONE - 1)
        assert (np.abs(got - tokens) <= 0.5 + np.abs(tokens) * short).all()
