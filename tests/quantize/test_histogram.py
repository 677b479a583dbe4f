"""Ranges from histograms, against percentiles and divergences computed from the values themselves."""

import numpy as np
import pytest

from edgemtl.quantize import histogram as module
from edgemtl.quantize.histogram import CANDIDATES_PER_OCTAVE, LEVELS, OCTAVES, PER_OCTAVE, Histogram, candidates

RNG = np.random.default_rng(11)
DRAWS = {
    "normal": RNG.standard_normal(50_000),
    "laplace": RNG.laplace(size=50_000),
    "heavy tails": RNG.standard_t(2, 50_000),
    "positive": np.maximum(RNG.standard_normal(50_000), 0),
    "negative": -RNG.exponential(size=50_000),
    "tiny": 1e-38 * RNG.standard_normal(50_000),
    "denormal": 1e-43 * RNG.standard_normal(50_000),
    "outlier": np.append(RNG.standard_normal(50_000), 3e30),
}


def histogram(values: np.ndarray, parts: int = 1) -> Histogram:
    made = Histogram()
    for part in np.array_split(values.astype(np.float32), parts):
        made.add(part)
    return made


@pytest.mark.parametrize("name", DRAWS)
def test_percentiles_are_those_of_the_values(name):
    values = np.sort(DRAWS[name].astype(np.float32))
    cut = int(values.size * 0.005)
    expected = min(float(values[cut]), 0.0), max(float(values[-1 - cut]), 0.0)
    assert histogram(values).percentile(99) == pytest.approx(expected, rel=1 / PER_OCTAVE, abs=0)


@pytest.mark.parametrize("name", DRAWS)
def test_the_order_of_values_does_not_matter(name):
    values = DRAWS[name]
    counts, limits = histogram(values).bins()
    for changed in (histogram(values[::-1], 7), histogram(np.sort(values), 5), histogram(np.sort(-np.abs(values)), 5)):
        found, same = changed.bins()
        assert changed.zeros + found.sum() == values.size
        np.testing.assert_array_equal(found.sum(0), counts.sum(0))
        np.testing.assert_array_equal(same, limits)


def test_bins_count_what_lies_between_their_limits():
    values = DRAWS["heavy tails"].astype(np.float32)
    counts, limits = histogram(values).bins()
    np.testing.assert_array_equal(counts[1], np.histogram(values.astype(float), limits)[0])
    np.testing.assert_array_equal(counts[0], np.histogram(-values.astype(float), limits)[0])


def test_size_and_work_do_not_depend_on_the_values(monkeypatch):
    """An outlier once made histograms of linear bins grow by its ratio to the rest."""
    tried: list[int] = []
    divergence = module._divergence
    monkeypatch.setattr(module, "_divergence", lambda c, e, end: tried.append(end) or divergence(c, e, end))
    for outlier in (1.0, 1e4, 1e10, 3e38):
        for values in (np.append(RNG.standard_normal(1000), outlier), np.append(outlier, RNG.standard_normal(1000))):
            made = histogram(values, 4)
            assert len(made.octaves) < 20
            tried.clear()
            _, high = made.least_divergence()
            assert 0 < len(tried) < 50
            assert high < 6


def test_no_values_take_more_than_all_octaves():
    made = histogram(np.concatenate([2.0 ** np.arange(-149, 128), -(2.0 ** np.arange(-149, 128))]))
    assert len(made.octaves) < OCTAVES
    assert len(candidates(made.bins()[0])) <= OCTAVES * CANDIDATES_PER_OCTAVE
    assert np.isfinite(made.least_divergence()).all()


def divergence(values: np.ndarray, reach: float) -> float:
    """Of clipping at ``reach`` and spreading each level's count over its bins that hold values, all of one width."""
    fine = 16
    edges = np.linspace(-reach, reach, 2 * LEVELS * fine + 1)
    inside = np.histogram(values[np.abs(values) <= reach], edges)[0].astype(float)
    reference = np.histogram(np.clip(values, -reach, reach), edges)[0].astype(float)
    used = (reference > 0).reshape(-1, fine)
    shares = inside.reshape(-1, fine).sum(1) / np.maximum(used.sum(1), 1)
    spread = np.where(used, shares[:, None], 0).reshape(-1)
    used = used.reshape(-1)
    return float((reference[used] * np.log(reference[used] / np.maximum(spread[used], 1))).sum() / reference.sum())


@pytest.mark.parametrize("name", ["normal", "laplace", "heavy tails"])
def test_the_chosen_range_diverges_little_by_a_count_of_another_kind(name):
    values = DRAWS[name]
    low, high = histogram(values).least_divergence()
    assert low == -high
    reach = np.abs(values).max()
    assert np.quantile(np.abs(values), 0.99) < high <= reach * (1 + 1 / PER_OCTAVE)
    everywhere = [divergence(values, reach * 2 ** (-i / 8)) for i in range(60)]
    assert divergence(values, high) < min(everywhere) + 0.1 * (max(everywhere) - min(everywhere))


@pytest.mark.parametrize(("name", "side"), [("positive", 0), ("negative", 1)])
def test_a_sign_that_does_not_occur_has_no_range(name, side):
    assert histogram(DRAWS[name]).least_divergence()[side] == 0
    assert histogram(DRAWS[name]).percentile(99.99)[side] == 0


def test_zeros_alone():
    assert histogram(np.zeros(9)).percentile(99.99) == (0, 0)
    assert histogram(np.zeros(9)).least_divergence() == (0, 0)


def test_one_value():
    for method in (lambda h: h.percentile(99.99), lambda h: h.least_divergence()):
        low, high = method(histogram(np.full(9, 5.0)))
        assert (low, high) == (0, pytest.approx(5, rel=1 / PER_OCTAVE))
