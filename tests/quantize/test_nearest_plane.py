"""Rounding to 4 bits against plain linear algebra, and against rounding each weight by itself."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.hw.law_weights4 import GROUP, expand, spread, unpack_codes
from edgemtl.quantize.nearest_plane import choose_multipliers, code_weight, nearest_codes, upper_root


def inputs(k: int, rows: int, seed: int) -> np.ndarray:
    """Rows whose values hang together, some channels larger than others."""
    random = np.random.default_rng(seed)
    few = -(-k // 4)
    common = random.standard_normal((rows, few)) @ random.standard_normal((few, k)) / few**0.5
    return (common + 0.3 * random.standard_normal((rows, k))) * 2.0 ** random.uniform(-1, 1, k)


def weight(k: int, n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng([seed, k])
    return np.clip(np.rint(random.standard_normal((k, n)) * 35), -127, 127).astype(np.int8)


@pytest.mark.parametrize("k", [1, 5, 64, 65, 150])
def test_the_root_is_choleskys(k: int) -> None:
    x = inputs(k, 3 * k, k)
    moments = x.T @ x
    np.testing.assert_allclose(upper_root(moments), np.linalg.cholesky(moments).T, rtol=1e-7, atol=1e-7 * x.std())


@pytest.mark.parametrize("k", [7, 70, 130])
def test_each_row_makes_up_for_the_errors_of_those_before_it(k: int) -> None:
    """A row's goal is what it would be if it, and all rows still to come, could be chosen freely."""
    x = inputs(k, 4 * k, k)
    moments, w = x.T @ x / len(x), weight(k, 3)
    coded = code_weight(w, moments)
    multipliers = spread(choose_multipliers(w), k)
    codes, error = unpack_codes(coded.codes, k), np.zeros((k, 3))
    left = list(np.argsort(np.diag(moments), kind="stable"))
    done: list[int] = []
    while left:
        carried = np.linalg.solve(moments[np.ix_(left, left)], moments[np.ix_(left, done)] @ error[done])
        row = left[-1]
        goal = w[row] + carried[-1]
        near = np.abs(goal * 8 / multipliers[row] % 1 - 0.5) < 1e-6
        np.testing.assert_array_equal(codes[row][~near], nearest_codes(goal, multipliers[row])[~near])
        error[row] = w[row] - expand(codes[row], multipliers[row])
        done.append(left.pop())


def test_inputs_that_hang_together_lose_less_than_by_rounding_each_weight() -> None:
    x = inputs(192, 2000, 0)
    w = weight(192, 48)
    coded = code_weight(w, x.T @ x / len(x) + 0.01 * np.eye(192))
    multipliers = spread(choose_multipliers(w), 192)
    alone = expand(nearest_codes(w, multipliers), multipliers)
    lost, lost_alone = (np.square(x @ (w - each.astype(float))).mean() for each in (coded.expand(), alone))
    assert lost < lost_alone / 4


@pytest.mark.parametrize("k", [3, GROUP, GROUP + 1, 150])
def test_the_largest_weight_of_a_group_keeps_its_value(k: int) -> None:
    """With independent inputs each weight has the nearest code: half a step of its group, and half an LSB."""
    w = weight(k, 20)
    coded = code_weight(w, np.eye(k)).expand().astype(int)
    for first in range(0, k, GROUP):
        group, back = w[first : first + GROUP].astype(int), coded[first : first + GROUP]
        reach = np.abs(group).max(0)
        at = np.abs(group).argmax(0), np.arange(20)
        np.testing.assert_array_equal(back[at], group[at])
        # The other end reaches to 7/8 of the largest weight.
        cut = np.minimum(np.abs(group), 7 / 8 * reach) * np.sign(group)
        same_side = np.sign(group) == np.sign(group[at])
        assert (np.abs(back - np.where(same_side, group, cut)) <= reach / 16 + 0.5).all()


def test_a_group_of_zeros_stays_zero() -> None:
    w = weight(2 * GROUP, 4)
    w[:GROUP] = 0
    coded = code_weight(w, np.eye(2 * GROUP))
    assert not coded.multipliers[0].any()
    assert not coded.expand()[:GROUP].any()
