"""GridSample and AffineGrid against onnxruntime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.generic import lower_call
from tests.tvm_bridge.generic.forms import Form, call_of, compare, compiled, model_of

IMAGE = (1, 2, 7, 9)
PADDING = ("zeros", "border", "reflection")


def images() -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)]


def grid(*shape: int, seed: int = 0, reach: float = 1.4) -> np.ndarray:
    """Random coordinates, some outside, and the corners and centres themselves."""
    values = np.random.default_rng(seed).uniform(-reach, reach, shape)
    values.reshape(-1)[:6] = [-1, 1, 0, 0, 1, -1]
    return values.astype(np.float32)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_modes_and_paddings(mode: str, corners: int) -> None:
    forms = [
        Form("GridSample", {"mode": mode, "padding_mode": padding, "align_corners": corners}, {"g": g}, None, shape)
        for padding in PADDING
        for shape, g in (
            (None, grid(1, 5, 6, 2)),
            (None, grid(1, 8, 3, 2, reach=5.0)),
            ((2, 2, 4, 5), grid(2, 3, 3, 2, seed=1)),
            ((1, 1, 2, 3), grid(1, 4, 4, 2, seed=2)),
        )
    ]
    compare(forms, images(), atol=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_volumes(mode: str) -> None:
    forms = [
        Form(
            "GridSample", {"mode": mode, "padding_mode": p, "align_corners": c}, {"g": grid(1, 2, 3, 4, 3)}, None, shape
        )
        for p, c, shape in itertools.product(PADDING, (0, 1), ((1, 2, 3, 4, 5), (1, 1, 2, 3, 4)))
    ]
    compare(forms, images(), atol=2e-5)


@pytest.mark.parametrize("opset", [16, 20, 22])
def test_every_opset(opset: int) -> None:
    modes = ("bilinear", "nearest", "bicubic") if opset < 20 else ("linear", "nearest", "cubic")
    forms = [Form("GridSample", {"mode": mode, "padding_mode": "border"}, {"g": grid(1, 5, 6, 2)}) for mode in modes]
    compare([*forms, Form("GridSample", {}, {"g": grid(1, 3, 3, 2)})], images(), opset, atol=2e-5)


@pytest.mark.parametrize("corners", [0, 1])
def test_affine_grids(corners: int) -> None:
    forms = [
        Form("AffineGrid", {"align_corners": corners}, {"size": np.array(size)}, None, shape)
        for size, shape in (([1, 3, 5, 6], (1, 2, 3)), ([2, 1, 2, 3, 4], (2, 3, 4)), ([1, 1, 9, 2], (1, 2, 3)))
    ]
    compare(forms, images())


def test_sampling_by_a_computed_grid() -> None:
    """The image is its own grid."""
    turned = Form("Transpose", {"perm": [0, 2, 3, 1]})
    forms = [Form("GridSample", {"mode": mode}, {}, ("x", "0"), before=(turned,)) for mode in ("linear", "cubic")]
    compare(forms, images(), atol=2e-5)


def test_coordinates_beyond_all_integers_are_outside() -> None:
    """onnxruntime converts them to an integer that C++ does not define, and reads some pixel."""
    values = grid(1, 4, 5, 2)
    values[0, 0, :, 0] = [np.nan, np.inf, -np.inf, 1e30, -3e9]
    machine = compiled(model_of([Form("GridSample", {"mode": "nearest"}, {"g": values})], IMAGE))
    result = machine.run("y0", images()[0])
    assert not result[..., 0, :].any()
    assert result[..., 1:, :].any()


REFUSED = {
    "GridSample must have a mode of nearest": ("GridSample", {"mode": "area"}, np.zeros((1, 2, 2, 2), np.float32)),
    "theta of AffineGrid must be .N, 2, 3., not .1, 2, 7, 9.": ("AffineGrid", {}, np.array([1, 1, 4, 4])),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    op, attributes, constant = REFUSED[text]
    call = call_of(op, attributes, IMAGE, {1: constant}, (1, 2, 2, 2))
    with pytest.raises(UnsupportedError, match=text):
        lower_call("node", call)


def test_a_single_position_between_corners_is_refused() -> None:
    call = call_of("AffineGrid", {"align_corners": 1}, (1, 2, 3), {1: np.array([1, 1, 1, 4])}, (1, 1, 4, 2))
    with pytest.raises(
        UnsupportedError, match="AffineGrid with align_corners must have more than one position per axis"
    ):
        lower_call("node", call)
