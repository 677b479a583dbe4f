"""Weights, biases and scales of one layer: their errors are those of rounding, their limits are refused."""

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.hw import law
from edgemtl.hw.arith import unpack_scale
from edgemtl.quantize.observe import Range
from edgemtl.quantize.tensors import STREAM_HEADROOM, Tensor, affine, symmetric, wide
from edgemtl.quantize.weights import BIAS_LIMIT, quantise_layer, quantise_weight

RNG = np.random.default_rng(3)


def test_a_weight_is_off_by_at_most_half_a_step_of_its_own_column():
    weight = RNG.standard_normal((40, 7)) * 10.0 ** np.arange(-3, 4)
    integers, scale = quantise_weight(weight)
    assert np.abs(integers).max(0).tolist() == [127] * 7
    assert (np.abs(integers * scale - weight) <= scale / 2 * (1 + 1e-9)).all()


def test_a_column_of_nothing_stays_nothing():
    integers, scale = quantise_weight(np.zeros((5, 2)))
    assert not integers.any()
    assert (scale > 0).all()


@pytest.mark.parametrize("zero", [0, -128, 37])
def test_a_layer_gives_the_real_sums_within_its_rounding(zero):
    """Against float64 on what the integers stand for: half a step of the output, and what the weights lost."""
    weight, bias = RNG.standard_normal((64, 5)), RNG.standard_normal(5)
    x = RNG.integers(-128, 128, (30, 64)).astype(np.int8)
    layer = quantise_layer("layer", weight, bias, Tensor("int8", 0.03, zero), np.array([0.5]))
    real = 0.03 * (x.astype(float) - zero)
    wanted = (real @ (layer.weight * layer.unit / 0.03) + bias) / 0.5
    found = law.linear(x, layer.weight, layer.bias, *unpack_scale(layer.scale), law.Finish("int16"))
    assert np.abs(found - wanted).max() < 0.51 + np.abs(wanted).max() * 2.0**-16
    lost = np.abs(layer.weight * layer.unit / 0.03 - weight).max()
    assert lost <= np.abs(weight).max() / 254 * (1 + 1e-9)


def test_a_bias_that_dwarfs_its_weights_makes_their_steps_coarser():
    layer = quantise_layer("layer", np.full((3, 1), 1e-9), np.array([1000.0]), Tensor("int8", 0.1), np.array([1.0]))
    assert abs(int(layer.bias[0])) <= BIAS_LIMIT + 1
    assert layer.bias[0] * layer.unit[0] == pytest.approx(1000.0)
    assert not layer.weight.any()


def test_a_sum_that_could_leave_32_bits_is_refused():
    weight = np.ones((140_000, 1))
    with pytest.raises(UnsupportedError, match=r"wide: a sum can reach \d+, it must stay below 2147483648; keep it"):
        quantise_layer("wide", weight, np.zeros(1), Tensor("int8", 1.0), np.array([1000.0]))


def test_an_output_finer_than_the_sums_is_refused():
    with pytest.raises(UnsupportedError, match="fine: the scale of a requantisation must be at least 0 and below 32"):
        quantise_layer("fine", np.ones((2, 1)), np.zeros(1), Tensor("int8", 1.0), np.array([1e-4]))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-0.17, 9.0), (-5.0, 0.0)])
def test_a_range_uses_all_bytes_and_holds_zero_exactly(low, high):
    tensor = affine(Range(low, high), "x")
    ends = tensor.scale * (np.array([-128, 127]) - tensor.zero)
    assert ends == pytest.approx([low, high], abs=tensor.scale / 2)
    assert -128 <= tensor.zero <= 127
    assert tensor.scale == pytest.approx((high - low) / 255)


def test_symmetric_and_wide_tensors_reach_what_they_must():
    assert symmetric(2.54, "x").scale * 127 == pytest.approx(2.54)
    assert wide(2.0, "x").scale * 32767 == pytest.approx(2.0 * STREAM_HEADROOM)


@pytest.mark.parametrize("make", [lambda: affine(Range(0, 0), "x"), lambda: symmetric(0, "x"), lambda: wide(0, "x")])
def test_a_range_of_nothing_is_refused(make):
    with pytest.raises(
        UnsupportedError, match="x: it, or what it reads, is 0 on all calibration images, so there is no scale"
    ):
        make()
