"""Signal to noise on the check images, against the definition, and what makes it say nothing."""

import math

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.quantize.quality import judge, signal_to_noise

RNG = np.random.default_rng(2)
MAPS = [RNG.standard_normal(60).astype(np.float32) for _ in range(4)]


def off(arrays: list[np.ndarray], error: float) -> list[np.ndarray]:
    return [(array + error * RNG.standard_normal(array.shape)).astype(np.float32) for array in arrays]


@pytest.mark.parametrize("scale", [1, 1e-20, 1e-30, 1e20])
def test_the_ratio_is_that_of_the_powers_whatever_the_scale(scale):
    exact = [np.float32(scale) * array + np.float32(3 * scale) for array in MAPS]
    found = off(exact, 0.01 * scale)
    signal = sum(np.var(e.astype(float)) * e.size for e in exact)
    noise = sum(((e.astype(float) - f) ** 2).sum() for e, f in zip(exact, found, strict=True))
    assert signal_to_noise(exact, found) == pytest.approx(10 * math.log10(signal / noise), abs=1e-3)
    assert judge("t", exact, found, 15.0).notes == ()


def test_equal_outputs_are_infinitely_good():
    assert signal_to_noise(MAPS, MAPS) == math.inf
    assert judge("t", MAPS, MAPS, 15.0).notes == ()


def test_outputs_of_one_number_are_measured_across_images():
    exact = [np.array([value], np.float32) for value in range(1, 9)]
    found = [array + np.float32(0.1) for array in exact]
    assert signal_to_noise(exact, found) == pytest.approx(10 * math.log10(42 / 0.08), abs=1e-3)
    assert judge("t", exact, found, 15.0).notes == ()


def test_few_outputs_of_one_number_are_measured_by_their_size_and_told_where_they_hardly_change():
    exact = [np.array([value], np.float32) for value in (2.0, 2.001)]
    quality = judge("t", exact, [array + np.float32(0.01) for array in exact], 15.0)
    assert quality.sqnr_db == pytest.approx(10 * math.log10((4 + 2.001**2) / (2 * 0.01**2)), abs=1e-2)
    assert "what its output differs by from image to image is -26.0 dB against the error of int8" in quality.notes[0]


def test_a_constant_output_is_measured_by_its_size_and_says_so():
    exact = [np.full(9, 2, np.float32)] * 3
    quality = judge("t", exact, [array + np.float32(0.02) for array in exact], 15.0)
    assert quality.sqnr_db == pytest.approx(40, abs=0.01)
    assert quality.notes == ("t: its output is the same on all check images, so its figure is that of a constant",)


def test_an_output_of_zeros_says_nothing():
    zeros = [np.zeros(9, np.float32)] * 3
    assert (
        judge("t", zeros, zeros, 15.0).notes[0]
        == "t: its float output is 0 on all check images, so the check says nothing"
    )
    assert judge("t", zeros, [array + 1 for array in zeros], 15.0).sqnr_db == -math.inf


def test_denormal_outputs_are_told():
    exact = [np.float32(1e-40) * array for array in MAPS]
    (note,) = judge("t", exact, exact, 15.0).notes
    assert note.startswith("t: its outputs reach 2")
    assert note.endswith("e-40, below the least normal float32; processors may take them for 0")


def test_biases_do_not_hide_that_the_image_is_lost():
    """Channels differ by what no image changes; what an image changes is far below a step of the integers."""
    biases = np.repeat(RNG.standard_normal(6), 10).astype(np.float32)
    exact = [biases + np.float32(1e-6) * array for array in MAPS]
    found = [biases + np.float32(1e-4)] * 4
    quality = judge("t", exact, found, 15.0)
    assert quality.sqnr_db > 70
    (note,) = quality.notes
    assert note.startswith("t: what its output differs by from image to image is -4")


def test_one_loud_image_does_not_hide_the_others():
    exact = [1000 * MAPS[0], *(np.float32(1e-4) * array for array in MAPS[1:])]
    quality = judge("t", exact, off(exact, 1.0), 15.0)
    assert quality.sqnr_db > 50
    (note,) = quality.notes
    assert note.startswith("t: 3 of 4 check images alone are below 15 dB, down to -8")


def test_outputs_that_are_not_finite_are_refused_and_integers_that_are_not_fail():
    broken = [*MAPS[1:], np.full(60, np.nan, np.float32)]
    with pytest.raises(
        InputError, match="t must give finite outputs on the images kept for the check, not infinities or"
    ):
        judge("t", broken, MAPS, 15.0)
    assert judge("t", MAPS, [*MAPS[1:], np.full(60, np.inf, np.float32)], -math.inf).sqnr_db == -math.inf


def test_nothing_is_said_where_no_figure_is_asked_for():
    constant = [np.full(9, 2, np.float32)] * 3
    assert judge("t", constant, off(constant, 1.0), -math.inf).notes == ()


def test_integers_are_counted():
    """One of a thousand class ids that differs is 30 dB, however far apart the ids are."""
    expected, actual = np.zeros((1, 1000), np.int64), np.zeros((1, 1000), np.int64)
    actual[0, 3] = 500
    assert judge("t", [expected], [actual], 15).sqnr_db == pytest.approx(30)
    assert signal_to_noise([expected], [expected]) == np.inf


def test_integers_are_counted_and_the_share_that_differs_is_told():
    exact = [np.arange(200, dtype=np.int64), np.arange(200, dtype=np.int64)]
    other = [exact[0].copy(), exact[1].copy()]
    other[0][[3, 7]] += 1
    quality = judge("t", exact, other, 15.0)
    assert quality.sqnr_db == pytest.approx(10 * math.log10(400 / 2))
    assert quality.notes == ("t: 0.50% of its elements are others than in float32 on the check images",)
    assert judge("t", exact, exact, 15.0).notes == ()
