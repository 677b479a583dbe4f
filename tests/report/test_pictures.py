"""Colours of predictions and the layout of contact sheets."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.report.pictures import (
    PALETTE,
    class_colours,
    colourise,
    colourise_classes,
    colourise_depth,
    colourise_normals,
    contact_sheet,
)
from edgemtl.vocabulary import KINDS, MAP_CHANNELS


def test_classes_get_their_palette_colour_and_unlabelled_pixels_black() -> None:
    logits = np.zeros((3, 1, 3))
    logits[[2, 0, 1], 0, [0, 1, 2]] = 1
    np.testing.assert_array_equal(colourise(logits, "segmentation")[0], PALETTE[[2, 0, 1]])
    np.testing.assert_array_equal(colourise_classes(np.array([[1, 255]]))[0], [PALETTE[1], (0, 0, 0)])


def test_forty_classes_have_forty_colours() -> None:
    assert len({tuple(colour) for colour in class_colours(40).tolist()}) == 40


def test_near_is_yellow_far_is_violet_and_the_range_can_be_fixed() -> None:
    depth = np.array([[1.0, 5.0]])
    np.testing.assert_array_equal(colourise(depth[None], "depth")[0], [(253, 231, 37), (68, 1, 84)])
    np.testing.assert_array_equal(colourise_depth(depth, 0.0, 9.0), colourise_depth(depth, 0.0, 9.0))
    assert (colourise_depth(depth, 0.0, 9.0)[0, 0] != (253, 231, 37)).any()
    assert (colourise_depth(np.ones((2, 2))) == (253, 231, 37)).all()


def test_a_normal_towards_the_camera_is_blue_and_its_length_does_not_matter() -> None:
    towards = np.array([0.0, 0.0, -3.0])[:, None, None]
    np.testing.assert_array_equal(colourise_normals(towards)[0, 0], (128, 128, 255))
    up = np.array([0.0, -0.1, 0.0])[:, None, None]
    np.testing.assert_array_equal(colourise(up, "normals")[0, 0], (128, 255, 128))


def test_edges_and_saliency_are_grey() -> None:
    logits = np.array([[[-40.0, 0.0, 40.0]]])
    np.testing.assert_array_equal(colourise(logits, "edges")[0, :, 0], (0, 128, 255))
    np.testing.assert_array_equal(colourise(logits, "saliency")[0, :, 1], (0, 0, 255))


@pytest.mark.parametrize("kind", ["segmentation", "depth", "normals", "edges", "saliency"])
def test_every_kind_gives_an_rgb_picture_of_the_predictions_size(kind: str) -> None:
    picture = colourise(np.random.default_rng(0).normal(size=(3 if kind != "saliency" else 2, 4, 5)), kind)
    assert picture.shape == (4, 5, 3)
    assert picture.dtype == np.uint8


def test_every_map_has_a_painter() -> None:
    assert {*MAP_CHANNELS, "classification", "other"} == set(KINDS)
    for kind, channels in MAP_CHANNELS.items():
        assert colourise(np.ones((channels[0], 2, 3)), kind).shape == (2, 3, 3)


@pytest.mark.parametrize("kind", MAP_CHANNELS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_black_and_change_no_others(kind: str, value: float) -> None:
    shape = (MAP_CHANNELS[kind][0], 4, 5)
    prediction = np.random.default_rng(0).uniform(1, 2, size=shape)
    broken = prediction.copy()
    broken[:, 1, 1] = value
    prediction[:, 1, 1] = prediction.min()
    expected = colourise(prediction, kind)
    expected[1, 1] = 0
    np.testing.assert_array_equal(colourise(broken, kind), expected)
    assert not colourise(np.full(shape, value), kind).any()


def test_a_contact_sheet_puts_pictures_in_a_grid() -> None:
    cells = [[np.full((2, 3, 3), 10 * row + column, np.uint8) for column in range(3)] for row in range(2)]
    sheet = contact_sheet(cells, scale=2, gap_px=1)
    assert sheet.shape == (2 * 4 + 1, 3 * 6 + 2, 3)
    assert sheet[0, 0, 0] == 0
    assert (sheet[5:9, 14:20] == 12).all()
    assert (sheet[4] == 255).all()
    assert contact_sheet(cells, ("a", "b", "c")).shape[0] > 2 * 2 + 4


def test_unknown_kinds_flat_predictions_and_ragged_sheets_are_refused() -> None:
    with pytest.raises(InputError, match=r"kind of a task must be one of segmentation, .*, not 'pose'"):
        colourise(np.zeros((1, 2, 2)), "pose")
    with pytest.raises(InputError, match=r"three axes|axes \(channels, height, width\)"):
        colourise(np.zeros((2, 2)), "depth")
    tile = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(InputError, match="contact sheet must"):
        contact_sheet([[tile, tile], [tile]])
