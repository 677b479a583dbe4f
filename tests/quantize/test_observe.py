"""Ranges: what each method keeps of what it saw, and what is refused."""

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.errors import InputError
from edgemtl.lowering.ir import Constant, Step, dense
from edgemtl.quantize.observe import Range, observe

ROWS, DIM = 64, 32


def network(activation=""):
    """A LayerNorm of the image's rows, then a linear layer to the output."""
    image, inner, output = dense("input/image", (ROWS, DIM)), dense("v0", (ROWS, DIM)), dense("output", (ROWS, 2))
    ones, zeros = np.ones(DIM, np.float32), np.zeros(DIM, np.float32)
    weight = np.zeros((DIM, 2), np.float32)
    weight[0], weight[1] = (2.0, 0.0), (0.0, -1.0)
    norm = Step(ops.LayerNorm(ROWS, DIM, 1e-6), (image,), (inner,), (Constant("g", ones), Constant("b", zeros)))
    spec = ops.Linear(ROWS, DIM, 2, activation, False)
    constants = (Constant("w", weight), Constant("c", np.zeros(2, np.float32)))
    return [norm, Step(spec, (inner,), (output,), constants, ("fc",))]


def images(count=3):
    draws = (np.random.default_rng(i).standard_normal((ROWS, DIM)).astype(np.float32) for i in range(count))
    return [{"image": draw} for draw in draws]


def normalised(image):
    wide = image.astype(np.float64)
    return (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True)


def test_minmax_is_the_range_of_all_images_with_zero_in_it():
    found = observe(network(), images(8), "minmax")
    rows = np.concatenate([normalised(frame["image"]) for frame in images(8)])
    y = np.stack([2 * rows[:, 0], -rows[:, 1]])
    assert found.ranges["1"].low == pytest.approx(y.min(), rel=1e-4)
    assert found.ranges["1"].high == pytest.approx(y.max(), rel=1e-4)
    assert found.ranges["1.all"] == found.ranges["1"]
    assert found.ranges["input/image"].low == pytest.approx(min(float(frame["image"].min()) for frame in images(8)))
    np.testing.assert_allclose(found.channels[0], np.abs(rows).max(0), rtol=1e-4)


def test_ranges_of_few_values_leave_room_for_those_not_seen():
    """Of 16 draws from a normal distribution one in nine lies beyond their range, few beyond the wider one."""
    rng = np.random.default_rng(0)
    beyond, beyond_widened = [], []
    for _ in range(200):
        seen, fresh = rng.standard_normal(16), rng.standard_normal(1000)
        drawn = Range(float(seen.min()), float(seen.max()))
        wider = drawn.widened(16)
        beyond.append(np.mean((fresh < drawn.low) | (fresh > drawn.high)))
        beyond_widened.append(np.mean((fresh < wider.low) | (fresh > wider.high)))
    assert np.mean(beyond) > 0.1
    assert np.mean(beyond_widened) < 0.03
    assert Range(-1.0, 2.0).widened(1000) == Range(-1.0, 2.0)


def test_an_activation_shows_what_stands_in_front_of_it():
    found = observe(network("gelu"), images(), "minmax")
    assert -0.2 < found.ranges["1"].low < 0
    assert found.ranges["1.pre"].low < -1
    assert found.ranges["1.pre"].high == pytest.approx(found.ranges["1"].high, rel=0.05)
    # Saturation computes these, so nobody asks what stands in front of them.
    assert "1.pre" not in observe(network("relu"), images(), "minmax").ranges


def test_percentile_cuts_an_outlier_and_16_bits_still_hold_it():
    seen = images(20)
    seen[1]["image"][5, 0] = 1e4
    found = observe(network(), seen, "percentile")
    assert found.ranges["input/image"].high < 100
    assert observe(network(), seen, "minmax").ranges["input/image"].high == 1e4
    assert found.ranges["1.all"].high > found.ranges["1"].high


def test_entropy_stays_within_what_was_seen():
    everything, found = (observe(network(), images(), method).ranges for method in ("minmax", "entropy"))
    assert everything["1"].low <= found["1"].low < 0 < found["1"].high <= everything["1"].high


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_a_method_gives_the_same_ranges_again(method):
    assert observe(network(), images(), method).ranges == observe(network(), images(), method).ranges


def test_a_value_that_is_not_finite_is_refused_by_its_layer():
    steps = network()
    steps[1].constants[0].array[0, 0] = np.inf
    with pytest.raises(InputError, match=r"fc must be finite on every calibration image, not .* leave out that input"):
        observe(steps, images(), "minmax")


def test_a_range_reaches_as_far_as_its_further_end():
    assert Range(-3, 2).reach == 3
    assert Range(-1, 2).union(Range(-4, 1)) == Range(-4, 2)
