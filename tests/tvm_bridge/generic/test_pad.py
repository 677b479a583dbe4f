"""Pad against onnxruntime: every mode, positive and negative pads, axes, values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.operators import TensorType
from edgemtl.tvm_bridge.generic import lower_call
from tests.tvm_bridge.generic.forms import Form, call_of, compare

IMAGE = (1, 3, 5, 7)
MODES = ("constant", "edge", "reflect", "wrap")


def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)


def form(pads: list[int], shape: tuple[int, ...] | None = None, value: float | None = None, **others: object) -> Form:
    """Pad of constant pads; ``axes`` and ``mode`` by name."""
    axes = others.pop("axes", None)
    constants = {"pads": np.array(pads)}
    if value is not None:
        constants["value"] = np.float32(value)
    if axes is not None:
        constants["axes"] = np.array(axes)
    operands = ("x", "pads") + ("value" if value is not None else "",) * (value is not None or axes is not None)
    operands += ("axes",) * (axes is not None)
    return Form("Pad", others, constants, operands, shape)


@pytest.mark.parametrize("mode", MODES)
def test_generated_pads(mode: str) -> None:
    rng = np.random.default_rng(1)
    compare([_random_form(rng, mode) for _ in range(40)], [image()], rtol=0, atol=0)


def _random_form(rng: np.random.Generator, mode: str) -> Form:
    """A form that leaves elements in every axis, of a tensor of random rank."""
    rank = int(rng.integers(1, 5))
    shape = tuple(int(n) for n in rng.integers(3, 5, rank))
    if np.prod(shape) > 105:
        return _random_form(rng, mode)
    low, high = -1, {"reflect": 1}.get(mode, 7)
    axes = [int(a) for a in rng.permutation(rank)[: rng.integers(1, rank + 1)]]
    pads = [int(p) for p in rng.integers(low, high, 2 * len(axes))]
    value = float(rng.standard_normal()) if mode == "constant" and rng.integers(2) else None
    return form(pads, shape, value, axes=[a - rank if rng.integers(2) else a for a in axes], mode=mode)


@pytest.mark.parametrize("opset", [11, 13, 18, 19, 21, 23, 25])
def test_every_opset(opset: int) -> None:
    modes = MODES if opset >= 19 else MODES[:3]
    forms = [form([0, 0, -2, 1, 0, 0, 3, 2], mode=mode) for mode in modes if mode != "reflect"]
    forms.append(form([0, 0, -2, 1, 0, 0, 2, 2], mode="reflect"))
    forms += [form([0, 1, 2, 0, 0, 0, 2, 6], value=value) for value in (0.0, 2.5, -np.inf, np.nan)]
    compare(forms, [image()], opset, rtol=0, atol=0)


def test_pads_as_attributes_of_old_opsets() -> None:
    others = ({"value": 1.5}, {"mode": "edge", "value": 1.5}, {"mode": "reflect"})
    forms = [Form("Pad", {"pads": [0, 0, 1, 2, 0, 1, 0, 3], **other}) for other in others]
    compare(forms, [image()], 9, rtol=0, atol=0)


def test_pads_that_cut_away_whole_axes() -> None:
    compare([form([5, -3], (2,)), form([-2, 4], (2,)), form([0, 5, 0, -3], (2, 2))], [image()], rtol=0, atol=0)


REFUSED = {
    "Pad in mode reflect must add less than an axis has, not 5 to 5 elements": ("reflect", [5, 0], [12]),
    "Pad must leave at least one element, not shape .0. of .7.": ("constant", [-4, -3], [0]),
    "mode of Pad must be one of constant, edge, reflect, wrap, not fold": ("fold", [1, 1], [7]),
    "pads of Pad must have 2 elements, not 3": ("edge", [1, 1, 1], [7]),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    mode, pads, shape = REFUSED[text]
    size = 5 if mode == "reflect" else 7
    call = call_of("Pad", {"mode": mode}, (size,), {1: np.array(pads)}, shape)
    with pytest.raises(UnsupportedError, match=text):
        lower_call("node", call)


def test_computed_pads_are_refused() -> None:
    call = call_of("Pad", {}, (7,), {}, [8])
    computed = replace(call, inputs=(*call.inputs, TensorType((2,), "int64")))
    with pytest.raises(UnsupportedError, match="pads of Pad must be a constant, not computed"):
        lower_call("node", computed)
