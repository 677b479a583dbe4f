"""Metrics against slow loops that follow the definitions word for word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.evaluate.metrics import (
    METERS,
    DepthMeter,
    EdgesMeter,
    NormalsMeter,
    SaliencyMeter,
    SegmentationMeter,
    make_meter,
    widen,
)
from edgemtl.vocabulary import KINDS

RNG = np.random.default_rng(7)


def test_miou_is_the_mean_over_classes_of_set_overlap() -> None:
    meter, guesses, truths = SegmentationMeter(4), [], []
    for _ in range(3):
        logits, label = RNG.normal(size=(4, 9, 11)), RNG.integers(0, 4, (9, 11))
        label[0, :4] = 255
        meter.add(logits, label)
        guesses += [(i, y, x, c) for i in [len(truths)] for (y, x), c in np.ndenumerate(logits.argmax(0))]
        truths.append(label)
    overlap = []
    for c in range(4):
        said = {g[:3] for g in guesses if g[3] == c and truths[g[0]][g[1], g[2]] != 255}
        true = {(i, y, x) for i, t in enumerate(truths) for y, x in zip(*np.nonzero(t == c), strict=True)}
        overlap.append(len(said & true) / len(said | true))
    result = meter.result()
    assert result["miou"] == pytest.approx(sum(overlap) / 4)
    np.testing.assert_allclose(meter.class_iou(), overlap)
    labelled = [(i, y, x, c) for i, y, x, c in guesses if truths[i][y, x] != 255]
    right = sum(truths[i][y, x] == c for i, y, x, c in labelled)
    assert result["pixel_accuracy"] == pytest.approx(right / len(labelled))


def test_a_class_that_never_occurs_does_not_count_in_miou() -> None:
    meter = SegmentationMeter(3)
    label = np.array([[0, 1]])
    meter.add(np.eye(3)[label].transpose(2, 0, 1), label)
    assert meter.result() == {"miou": 1.0, "pixel_accuracy": 1.0}
    assert math.isnan(meter.class_iou()[2])


def test_depth_errors_follow_their_formulas_and_skip_pixels_without_a_label() -> None:
    meter, pairs = DepthMeter(), []
    for _ in range(2):
        truth, guess = RNG.uniform(0.5, 6, (5, 7)), RNG.uniform(0.5, 6, (5, 7))
        truth[0, 0], truth[1, 1], truth[2, 2] = 0, np.nan, np.inf
        meter.add(guess[None], truth)
        skipped = {(0, 0), (1, 1), (2, 2)}
        pairs += [(guess[p], truth[p]) for p in np.ndindex(5, 7) if p not in skipped]
    result = meter.result()
    assert result["rmse"] == pytest.approx(math.sqrt(sum((g - t) ** 2 for g, t in pairs) / len(pairs)))
    assert result["abs_rel"] == pytest.approx(sum(abs(g - t) / t for g, t in pairs) / len(pairs))
    assert result["delta1"] == pytest.approx(sum(max(g / t, t / g) < 1.25 for g, t in pairs) / len(pairs))


def test_a_negative_depth_is_not_within_any_factor() -> None:
    meter = DepthMeter()
    meter.add(np.full((1, 2, 2), -1.0), np.ones((2, 2)))
    assert meter.result()["delta1"] == 0


def test_the_mean_angle_is_that_between_vectors_whatever_their_length() -> None:
    meter, angles = NormalsMeter(), []
    truth, guess = RNG.normal(size=(3, 4, 6)), RNG.normal(size=(3, 4, 6)) * 5
    truth /= np.linalg.norm(truth, axis=0)
    truth[:, 0, 0] = 0
    meter.add(guess, truth)
    for y, x in np.ndindex(4, 6):
        if (y, x) != (0, 0):
            u, v = guess[:, y, x], truth[:, y, x]
            sine, cosine = np.linalg.norm(np.cross(u, v)), u @ v
            angles.append(math.degrees(math.atan2(sine, cosine)))
    result = meter.result()
    assert result["mean_angle"] == pytest.approx(sum(angles) / len(angles))
    assert result["within_11"] == pytest.approx(sum(a < 11.25 for a in angles) / len(angles))


def test_the_edge_score_matches_pixels_within_one_of_each_other_over_all_pictures() -> None:
    meter = EdgesMeter()
    near_guess = guesses = near_truth = truths = 0
    for _ in range(3):
        logit, label = RNG.normal(size=(8, 9)) - 1, RNG.random((8, 9)) < 0.1
        meter.add(logit[None], label.astype(np.uint8) * 255)
        said = {(y, x) for y, x in np.ndindex(8, 9) if logit[y, x] > 0}
        true = {(y, x) for y, x in np.ndindex(8, 9) if label[y, x]}

        def close(p: tuple[int, int], others: set[tuple[int, int]]) -> bool:
            return any(abs(p[0] - q[0]) <= 1 and abs(p[1] - q[1]) <= 1 for q in others)

        near_guess += sum(close(p, true) for p in said)
        near_truth += sum(close(p, said) for p in true)
        guesses, truths = guesses + len(said), truths + len(true)
    precision, recall = near_guess / guesses, near_truth / truths
    expected = 2 * precision * recall / (precision + recall)
    assert meter.result() == pytest.approx({"f_score": expected, "precision": precision, "recall": recall})


def test_edges_one_pixel_off_match_and_two_pixels_off_do_not() -> None:
    for shift, expected in ((1, 1.0), (2, 0.0)):
        meter, label = EdgesMeter(), np.zeros((6, 6))
        label[:, 2] = 1
        meter.add(np.roll(label, shift, 1)[None] - 0.5, label)
        assert meter.result()["f_score"] == expected


def test_saliency_takes_one_logit_or_two_classes() -> None:
    label = RNG.random((6, 7)) < 0.4
    logit = RNG.normal(size=(1, 6, 7))
    one, two = SaliencyMeter(), SaliencyMeter()
    one.add(logit, label)
    two.add(np.concatenate([-logit, logit]), label)
    said = logit[0] > 0
    both = sum(said[p] and label[p] for p in np.ndindex(6, 7))
    either = sum(said[p] or label[p] for p in np.ndindex(6, 7))
    assert one.result() == two.result()
    assert one.result()["iou"] == pytest.approx(both / either)
    assert one.result()["f_score"] == pytest.approx(2 * both / (said.sum() + label.sum()))


def test_widen_sets_the_eight_neighbours_and_nothing_across_the_border() -> None:
    mask = np.zeros((4, 5), bool)
    mask[0, 0] = True
    expected = np.zeros((4, 5), bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(widen(mask), expected)


@pytest.mark.parametrize("kind", ["segmentation", "depth", "normals", "edges", "saliency", "classification"])
def test_an_empty_meter_gives_nan(kind: str) -> None:
    assert all(math.isnan(value) for value in make_meter(kind, 3).result().values())


def test_every_kind_has_a_meter() -> None:
    assert {*METERS, "other"} == set(KINDS)


def test_one_picture_at_a_time_is_all_pictures_at_once() -> None:
    guess, truth = RNG.uniform(1, 5, (4, 1, 3, 3)), RNG.uniform(1, 5, (4, 3, 3))
    parts, whole = DepthMeter(), DepthMeter()
    for g, t in zip(guess, truth, strict=True):
        parts.add(g, t)
    whole.add(guess.reshape(1, 12, 3), truth.reshape(12, 3))
    assert parts.result() == pytest.approx(whole.result())


def test_a_kind_without_metrics_is_refused() -> None:
    expected = "must be one of segmentation, depth, normals, edges, saliency, classification, not 'other'"
    with pytest.raises(InputError, match=expected):
        make_meter("other", 1)


def test_a_prediction_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"a depth prediction must have shape \(1, 2, 3\), not \(2, 3\)"):
        DepthMeter().add(np.ones((2, 3)), np.ones((2, 3)))


def test_a_label_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"a normals label must have shape \(3, 2, 3\), not \(2, 3\)"):
        NormalsMeter().add(np.ones((3, 2, 3)), np.ones((2, 3)))


def test_a_prediction_with_nan_is_refused() -> None:
    with pytest.raises(InputError, match=r"an? edges prediction must be finite"):
        EdgesMeter().add(np.full((1, 2, 3), np.nan), np.ones((2, 3)))


def test_a_class_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="a class id must be from 0 to 2 or 255, not 7; check"):
        SegmentationMeter(3).add(np.zeros((3, 1, 2)), np.array([[0, 7]]))
