"""Pictures to inputs: the filters against Pillow and torch, channels, and what notes say."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from edgemtl.errors import InputError
from edgemtl.images import FILTERS, load_image, resize, resize_rgb, summarise_notes
from edgemtl.vocabulary import RESIZE_FILTERS

RNG = np.random.default_rng(3)


@dataclass(frozen=True)
class Description:
    shape: tuple[int, ...] = (1, 3, 4, 6)
    mean: tuple[float, ...] | None = (0.5, 0.4, 0.3)
    std: tuple[float, ...] | None = (0.25, 0.2, 0.1)
    resize_filter: str = "pillow-bilinear"
    is_camera: bool = False


@pytest.mark.parametrize("mode", ["RGB", "L", "F"])
@pytest.mark.parametrize(
    ("source", "target"), [((37, 53), (16, 24)), ((5, 7), (16, 24)), ((1, 1), (3, 4)), ((64, 9), (1, 1))]
)
def test_torch_bilinear_is_torchs(mode, source, target):
    shape = (*source, 3) if mode == "RGB" else source
    pixels = RNG.integers(0, 256, shape, np.uint8)
    image = Image.fromarray(pixels.astype(np.float32) if mode == "F" else pixels)
    assert image.mode == mode
    planes = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None] / 255
    expected = torch.nn.functional.interpolate(planes, target, mode="bilinear", align_corners=False, antialias=False)
    found = resize(image, *target, "torch-bilinear")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found / 255, expected[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_torch_bilinear_of_a_large_picture(tmp_path):
    pixels = RNG.integers(0, 256, (3000, 4000, 3), np.uint8)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = torch.nn.functional.interpolate(planes, (224, 224), mode="bilinear", align_corners=False)
    found = resize_rgb(pixels, 224, 224, "torch-bilinear") / 255
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=1e-5)


@pytest.mark.parametrize(("name", "mode"), [("pillow-bilinear", "bilinear"), ("pillow-bicubic", "bicubic")])
def test_pillows_filters_average_as_torchs_with_antialias(name, mode):
    pixels = RNG.integers(0, 256, (61, 47), np.uint8).astype(np.float32)
    planes = torch.from_numpy(pixels)[None, None]
    expected = torch.nn.functional.interpolate(planes, (12, 20), mode=mode, align_corners=False, antialias=True)
    found = resize(Image.fromarray(pixels), 12, 20, name)
    np.testing.assert_allclose(found[..., 0], expected[0, 0].numpy(), atol=1e-3)
    rounded = resize(Image.fromarray(pixels.astype(np.uint8)), 12, 20, name)
    assert rounded.dtype == np.uint8
    np.testing.assert_allclose(rounded[..., 0], np.clip(found[..., 0], 0, 255), atol=1.01)


def test_filters_differ_and_none_changes_a_picture_of_the_right_size():
    pixels = RNG.integers(0, 256, (40, 40, 3), np.uint8)
    results = [resize_rgb(pixels, 9, 9, name).astype(float) for name in RESIZE_FILTERS]
    assert all(np.abs(a - b).max() > 5 for i, a in enumerate(results) for b in results[:i])
    for name in FILTERS:
        np.testing.assert_array_equal(resize_rgb(pixels, 40, 40, name), pixels)


def test_pictures_are_normalised_by_channel(tmp_path):
    pixels = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", Description())
    expected = (pixels / 255 - (0.5, 0.4, 0.3)) / (0.25, 0.2, 0.1)
    np.testing.assert_allclose(found.array[0], expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
    assert (found.array.dtype, found.resized, found.notes) == (np.float32, False, ())


def test_grey_is_the_same_in_all_channels_and_16_bits_keep_their_fractions(tmp_path):
    levels = RNG.integers(0, 65536, (4, 6), np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", Description(mean=(0, 0, 0), std=(1, 1, 1)))
    np.testing.assert_allclose(found.array[0], np.repeat(levels[None] / 65535, 3, 0), atol=1e-6)
    assert "grey, the same in all three channels" in found.notes


def test_a_model_of_one_channel(tmp_path):
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", Description((1, 1, 3, 3), (0.0,), (1.0,)))
    np.testing.assert_allclose(found.array, np.full((1, 1, 3, 3), 76 / 255), rtol=1e-6)
    assert found.notes == ("colours made grey (ITU-R 601)", "resized to 3x3 by pillow-bilinear")


@pytest.mark.parametrize("channels", [2, 4])
def test_models_of_other_channels_take_arrays_only(tmp_path, channels):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    text = f"the model must take 1 or 3 channels for pictures, not {channels}; give .npy arrays"
    with pytest.raises(InputError, match=re.escape(text)):
        load_image(tmp_path / "a.png", Description((1, channels, 3, 3), (0.0,) * channels, (1.0,) * channels))


def test_pictures_need_a_normalisation_and_arrays_do_not(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="must record how pictures are normalised, and it does not; give --mean and"):
        load_image(tmp_path / "a.png", Description(mean=None))
    np.save(tmp_path / "a.npy", np.ones(3))
    np.testing.assert_array_equal(load_image(tmp_path / "a.npy", Description(mean=None)).array, np.ones(3))


def test_notes_name_the_first_pictures():
    notes = {f"{i}.png": ("grey", "turned") if i == 1 else ("grey",) for i in range(5)}
    assert summarise_notes(notes) == ("0.png, 1.png, 2.png and 2 more: grey", "1.png: turned")
