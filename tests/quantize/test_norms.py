"""LayerNorm: what moves into the readers gives the same real numbers, and halvings are worth their cost."""

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.lowering.ir import Constant, Step, dense
from edgemtl.quantize.norms import MOST_HALVINGS, can_fold, choose_halvings, plan_norm

RNG = np.random.default_rng(8)
DIM, WIDTH = 6, 4


def step(spec, reads, writes, *arrays, name="node"):
    inputs, outputs = (tuple(dense(b, (3, DIM)) for b in names) for names in (reads, writes))
    return Step(spec, inputs, outputs, tuple(Constant(f"c{i}", a) for i, a in enumerate(arrays)), (name,))


def norm(gamma, beta):
    return step(ops.LayerNorm(3, DIM, 1e-6), ["x"], ["y"], gamma, beta, name="norm")


def linear():
    weight = RNG.standard_normal((DIM, WIDTH)).astype(np.float32)
    weight[3] *= 0.02  # a loud channel is halved where its weights have room
    return step(ops.Linear(3, DIM, WIDTH, "", False), ["y"], ["z"], weight, np.zeros(WIDTH, np.float32))


def conv(pad=1):
    spec = ops.Conv2d(1, 3, DIM, 2, (3, 3), pad=(pad,) * 4)
    weight = RNG.standard_normal((2, DIM, 3, 3)).astype(np.float32)
    return step(spec, ["y"], ["z"], weight, np.zeros(2, np.float32))


def rebuilt(planned, rows):
    """What a reader sees of normalised rows: quietened, offset, then made good by fold and shift."""
    seen = rows * 2.0 ** -planned.halvings.astype(float) + planned.offset
    return planned.fold * seen + planned.shift


@pytest.mark.parametrize("reader", [linear, conv], ids=["linear", "padded convolution"])
def test_fold_shift_and_offset_make_gamma_and_beta(reader):
    gamma, beta = RNG.uniform(0.5, 2, DIM), RNG.standard_normal(DIM)
    rows, extremes = RNG.standard_normal((3, DIM)), np.array([1.0, 1, 1, 60, 1, 1])
    steps = [norm(gamma, beta), reader()]
    planned = plan_norm(steps, 0, extremes, steps[1:])
    np.testing.assert_allclose(rebuilt(planned, rows), rows * gamma + beta, rtol=1e-12)
    assert planned.halvings.any()
    assert bool(planned.offset.any()) == (reader is conv)
    assert planned.reach >= (extremes * 2.0 ** -planned.halvings.astype(float)).max()


def test_one_loud_channel_is_halved_and_the_others_are_not():
    extremes = np.full(32, 3.0)
    extremes[5] = 40.0
    halvings, reach = choose_halvings(extremes, RNG.standard_normal((32, 8)))
    assert halvings[5] == 4
    assert not np.delete(halvings, 5).any()
    assert 2.5 <= reach <= 3.0


def test_channels_that_are_alike_are_left_alone():
    halvings, reach = choose_halvings(np.full(16, 2.0), RNG.standard_normal((16, 8)))
    assert not halvings.any()
    assert reach == 2.0


def test_halvings_have_an_end_and_the_reach_covers_what_is_left():
    extremes = np.array([1.0, 1e6])
    halvings, reach = choose_halvings(extremes, np.ones((2, 3)))
    assert halvings.max() <= MOST_HALVINGS
    assert (extremes <= reach * 2.0**halvings * (1 + 1e-9)).all()


def test_the_choice_is_the_best_of_all_by_brute_force():
    """Every reach that is some channel's, with the error written out in loops."""
    extremes, weights = RNG.uniform(1, 30, 7), RNG.standard_normal((7, 4))

    def error(reach):
        halvings = [max(0, int(np.ceil(np.log2(e / reach) - 1e-9))) for e in extremes]
        rounding = sum((reach * 2**h * w) ** 2 for h, row in zip(halvings, weights, strict=True) for w in row)
        spread = sum(4.0**-h for h in halvings)
        columns = [max(abs(row[n]) * 2**h for h, row in zip(halvings, weights, strict=True)) for n in range(4)]
        return rounding + spread * sum(c * c for c in columns)

    _, reach = choose_halvings(extremes, weights)
    assert error(reach) == pytest.approx(min(error(e) for e in extremes))


def test_a_layer_norm_whose_gamma_a_reader_cannot_hold_is_not_folded():
    attention = step(ops.Attention(3, 1, DIM // 3, 1.0), ["y"], ["z"])
    steps = [norm(np.ones(DIM), np.zeros(DIM)), attention]
    assert not can_fold(steps, 0)
    assert not can_fold(steps[:1], 0)
    assert can_fold([*steps[:1], conv()], 0)


def test_a_beta_without_a_gamma_in_front_of_padding_is_refused():
    gamma, beta = np.ones(DIM), np.zeros(DIM)
    gamma[2], beta[2] = 0.0, 1.0
    steps = [norm(gamma, beta), conv()]
    with pytest.raises(UnsupportedError, match="norm: beta of channel 2 must be at most 256 times gamma"):
        plan_norm(steps, 0, np.ones(DIM), steps[1:])


def test_a_channel_without_gamma_and_beta_is_no_trouble():
    gamma, beta = np.ones(DIM), np.zeros(DIM)
    gamma[2] = 0.0
    steps = [norm(gamma, beta), conv()]
    planned = plan_norm(steps, 0, np.ones(DIM), steps[1:])
    assert planned.fold[2] == 0
