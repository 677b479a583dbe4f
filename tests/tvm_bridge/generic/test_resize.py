"""Resize and Upsample: the table of taps over thousands of forms in numpy, then compiled forms, against onnxruntime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from edgemtl.errors import UnsupportedError
from tests.tvm_bridge.generic.forms import Form, compare, compiled, model_of

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
IMAGE = (1, 2, 7, 9)


def images(shape: tuple[int, ...] = IMAGE) -> list[np.ndarray]:
    """Noise, and a large offset with one corner that differs."""
    rng = np.random.default_rng(0)
    skewed = np.full(shape, 100, np.float32)
    skewed[..., :2, :2] = -3
    return [rng.standard_normal(shape).astype(np.float32), skewed]


def form(how: np.ndarray, shape: tuple[int, ...] | None = None, **attributes: object) -> Form:
    """Resize by scales (float) or to sizes (integers)."""
    is_scale = how.dtype == np.float32
    constants = {"how": how}
    operands = ("x", "", "how") if is_scale else ("x", "", "", "how")
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        constants["roi"] = np.array([0, 0, 0.1, 0.8, 1, 1, 1.2, -0.1], np.float32)
        operands = ("x", "roi", *operands[2:])
        attributes["extrapolation_value"] = 7.0
    return Form("Resize", attributes, constants, operands, shape)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def sizes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


HOW = (scales(1, 1, 1.5, 2.5), scales(1, 1, 0.6, 2), sizes(1, 2, 1, 4), sizes(1, 2, 14, 5), scales(1, 1, 2, 1.3))


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_nearest_takes_the_pixel_that_onnxruntime_takes(coordinates: str) -> None:
    forms = [
        form(how, mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=nearest)
        for how, nearest in itertools.product(HOW, NEAREST)
    ]
    compare(forms, images())


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_weighted_modes(mode: str, coordinates: str) -> None:
    extras: list[dict[str, object]] = [{}, {"antialias": 1}, {"antialias": 1, "exclude_outside": 1}]
    if mode == "cubic":
        extras += [{"exclude_outside": 1}, {"cubic_coeff_a": -0.5}]
    forms = [
        form(how, mode=mode, coordinate_transformation_mode=coordinates, **extra)
        for how, extra in itertools.product(HOW, extras)
    ]
    compare(forms, images(), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_random_sizes_and_scales(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare([_random_form(rng) for _ in range(40)], images((1, 2, 16, 24)), atol=1e-4)


def _random_form(rng: np.random.Generator) -> Form:
    """A form whose height and width both change, of an image of random size."""
    mode = str(rng.choice(["nearest", "linear", "cubic"]))
    attributes: dict[str, object] = {"mode": mode, "coordinate_transformation_mode": str(rng.choice(COORDINATES))}
    if mode == "nearest":
        attributes["nearest_mode"] = str(rng.choice(NEAREST))
    elif rng.integers(2):
        attributes |= {"antialias": 1, "exclude_outside": int(rng.integers(2))}
    shape = (1, 2, int(rng.integers(3, 16)), int(rng.integers(3, 24)))
    if rng.integers(2):
        return form(sizes(1, 2, *(int(n + 1 + rng.integers(n)) for n in shape[2:])), shape, **attributes)
    factors = rng.choice(np.array([0.4, 0.5, 0.75, 1.4, 1.5, 2, 2.5, 3, 4], np.float32), 2)
    # Where the product depends on how it is rounded, the form is refused.
    exact = [int(np.float64(f) * n) == int(f * np.float32(n)) for f, n in zip(factors, shape[2:], strict=True)]
    return form(scales(1, 1, *factors), shape, **attributes) if all(exact) else _random_form(rng)


def test_any_axes_of_any_rank() -> None:
    forms = [
        form(scales(2, 3), mode="linear", axes=[3, 2]),
        form(sizes(5, 12), mode="linear", axes=[-1, -2]),
        form(sizes(4), mode="cubic", axes=[2]),
        form(sizes(3, 20), mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
        form(sizes(3, 20), mode="nearest", axes=[3, 2], keep_aspect_ratio_policy="not_smaller"),
        form(sizes(10, 20), mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_smaller", antialias=1),
        form(scales(1, 2, 1, 1), mode="nearest"),
        form(scales(1, 0.5, 2, 1), mode="nearest"),
        form(scales(1.5, 2.5), (6, 8), mode="cubic"),
        form(scales(1.5), (20,), mode="nearest", nearest_mode="ceil"),
        form(scales(2, 1.5, 0.5), (4, 5, 6), mode="linear"),
        form(scales(2, 1, 2.5), (2, 4, 3), mode="nearest"),
        form(scales(1, 1, 1.5, 2, 2.5), (1, 2, 3, 4, 5), mode="linear"),
        form(sizes(2, 2, 4, 4, 2), (2, 2, 3, 4, 2), mode="nearest"),
        form(sizes(1, 4, 7, 3), (1, 5, 6, 3), mode="linear"),
        form(sizes(3, 2, 5, 5), (3, 2, 4, 4), mode="linear"),
        form(sizes(1, 1, 1, 1), (1, 1, 6, 6), mode="linear", coordinate_transformation_mode="align_corners"),
        form(scales(1, 1, 1, 1), mode="cubic"),
        form(scales(1, 1, 2, 2), mode="linear"),
        form(scales(1, 1, 1, 3), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        form(sizes(1, 2, 1, 5), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    ]
    compare(forms, images())


def test_an_axis_of_channels_is_interpolated_as_onnx_defines_it() -> None:
    """onnxruntime has no such form of mode linear: ONNX's own reference is the oracle."""
    model = model_of([form(scales(1, 2.5, 1, 1), (1, 4, 3, 5), mode="linear")], IMAGE)
    image = images()[0]
    (expected,) = ReferenceEvaluator(model).run(None, {"image": image})
    np.testing.assert_allclose(compiled(model).run("y0", image), expected, atol=1e-5)


def test_infinite_and_missing_pixels_spread_as_far_as_in_onnxruntime() -> None:
    image = images()[0]
    image[0, 0, 3, 4], image[0, 1, 6, 8], image[0, 1, 0, 0] = np.inf, np.inf, np.nan
    forms = [form(scales(1, 1, 2.5, 2.5), mode=mode) for mode in ("linear", "nearest")]
    compare(forms, [image])


@pytest.mark.parametrize("opset", [7, 8, 9])
def test_upsample_of_old_opsets(opset: int) -> None:
    factors = {
        "nearest": [(1, 1, 2, 2), (1, 1, 1.5, 3), (1, 2, 1, 1)],
        "linear": [(1, 1, 2, 1.5), (1, 1, 1, 3)],
    }
    if opset < 9:
        forms = [
            Form("Upsample", {"mode": mode, "scales": [float(v) for v in f]}) for mode in factors for f in factors[mode]
        ]
    else:
        forms = [Form("Upsample", {"mode": mode}, {"s": scales(*f)}) for mode in factors for f in factors[mode]]
    compare(forms, images(), opset)


def test_resize_of_opset_10_rounds_up_where_it_shrinks() -> None:
    factors = [(1, 1, 0.5, 0.6), (1, 1, 2, 2.5), (1, 1, 0.6, 1)]
    forms = [Form("Resize", {"mode": mode}, {"s": scales(*f)}) for mode in ("nearest", "linear") for f in factors]
    compare(forms, images(), opset=10)


@pytest.mark.parametrize("opset", [11, 13, 18, 19, 22])
def test_every_opset(opset: int) -> None:
    constants, operands = {"how": scales(1, 1, 2, 2.5), "roi": scales()}, ("x", "roi", "how")
    compare([Form("Resize", {"mode": mode}, constants, operands) for mode in ("nearest", "linear")], images(), opset)


REFUSED = {
    "Resize of 15 by 1.4 may give 20 or 21; give sizes instead of scales": form(
        scales(1, 1, 1.4, 2), (1, 1, 15, 2), mode="linear"
    ),
    "Resize by 1.1 must change the size 7; give sizes instead of scales": form(scales(1, 1, 1.1, 1), mode="linear"),
    "a region of interest of Resize must not have the size of the result": form(
        sizes(1, 2, 7, 9), mode="linear", coordinate_transformation_mode="tf_crop_and_resize"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_forms_that_onnxruntime_and_onnx_compute_differently_are_refused(text: str) -> None:
    with pytest.raises(UnsupportedError, match=text):
        compare([REFUSED[text]], images())
