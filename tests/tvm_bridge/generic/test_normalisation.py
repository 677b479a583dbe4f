"""Normalisations against onnxruntime, and against float64 where the mean is large."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.generic import lower_call
from tests.tvm_bridge.generic.forms import Form, call_of, compare, compiled, model_of

IMAGE = (1, 6, 5, 7)
SHAPES = (None, (2, 4, 9), (2, 3, 2, 3, 4), (2, 6, 4, 4))


def images() -> list[np.ndarray]:
    """Noise, and a value everywhere but in one corner; not so large that onnxruntime's float32 loses digits."""
    rng = np.random.default_rng(0)
    skewed = np.full(IMAGE, 2, np.float32) + rng.standard_normal(IMAGE).astype(np.float32) * 0.5
    skewed[..., :2, :2] = -3
    return [rng.standard_normal(IMAGE).astype(np.float32) * 3, skewed]


def vectors(*shape: int, names: str = "sb") -> dict[str, np.ndarray]:
    """Random constants of one shape by their names."""
    rng = np.random.default_rng(7)
    return {name: rng.uniform(0.5, 2, shape).astype(np.float32) for name in names}


def channels(shape: tuple[int, ...] | None) -> int:
    return (shape or IMAGE)[1]


@pytest.mark.parametrize("opset", [9, 14, 15, 20])
def test_batch_normalisation(opset: int) -> None:
    forms = [
        Form("BatchNormalization", {"epsilon": epsilon}, vectors(channels(shape), names="sbmv"), None, shape)
        for shape in ((*SHAPES, (6, 8)) if opset > 9 else (None,))
        for epsilon in (1e-5, 1e-2)
    ]
    compare(forms, images(), opset)


@pytest.mark.parametrize("opset", [9, 20, 22])
def test_instance_normalisation(opset: int) -> None:
    forms = [
        Form("InstanceNormalization", {"epsilon": epsilon}, vectors(channels(shape)), None, shape)
        for shape in (SHAPES if opset > 9 else (None,))
        for epsilon in (1e-5, 1e-2)
    ]
    compare(forms, images(), opset, atol=2e-4)


@pytest.mark.parametrize("opset", [18, 20, 21, 24])
def test_group_normalisation(opset: int) -> None:
    forms = [
        Form("GroupNormalization", {"num_groups": groups}, vectors(groups if opset < 21 else 6), None, shape)
        for shape in (None, (2, 6, 8), (1, 6, 2, 3, 4))
        for groups in (1, 2, 3, 6)
    ]
    compare(forms, images(), opset, atol=2e-4)


@pytest.mark.parametrize("opset", [17, 20])
def test_layer_normalisation(opset: int) -> None:
    forms = []
    for axis in (-1, 3, 2, 1, -3, 0):
        inner = IMAGE[axis:]
        for names in ("s", "sb"):
            forms.append(Form("LayerNormalization", {"axis": axis, "epsilon": 1e-3}, vectors(*inner, names=names)))
    forms.append(Form("LayerNormalization", {}, {**vectors(7, names="s"), **vectors(5, 7, names="b")}))
    forms.append(Form("LayerNormalization", {"axis": 1}, vectors(1, 5, 1)))
    for axis, shape in ((-1, None), (1, None), (2, (2, 4, 9))):
        inner = (shape or IMAGE)[axis:]
        for which in (0, 1, 2):
            attributes = {"axis": axis, "stash_type": 1}
            forms.append(Form("LayerNormalization", attributes, vectors(*inner), None, shape, 3, which))
    compare(forms, images(), opset, atol=2e-4, rtol=2e-5)


def test_root_mean_square_normalisation() -> None:
    forms = [
        Form("RMSNormalization", {"axis": axis, "epsilon": 1e-4}, vectors(*IMAGE[axis:], names="s"))
        for axis in (-1, 2, 1, 0)
    ]
    compare(forms, images(), 23)


@pytest.mark.parametrize("opset", [9, 18, 22])
def test_norms(opset: int) -> None:
    forms = [
        Form("LpNormalization", {"axis": axis, "p": p}, shape=shape)
        for shape in (SHAPES if opset > 9 else (None,))
        for axis in (-1, 1, 0)
        for p in (1, 2)
    ]
    compare(forms, [*images(), np.zeros(IMAGE, np.float32)], opset)


@pytest.mark.parametrize("opset", [9, 13])
def test_mean_variance_normalisation(opset: int) -> None:
    forms = [
        Form("MeanVarianceNormalization", {"axes": axes}) for axes in ([0, 2, 3], [2, 3], [1], [0, 1, 2, 3], [1, 3])
    ]
    compare([Form("MeanVarianceNormalization"), *forms], images()[:1], opset, atol=2e-4)


def test_local_response_normalisation() -> None:
    forms = [Form("LRN", {"size": size}) for size in (1, 3, 5, 9)]
    forms += [Form("LRN", {"size": 3, "alpha": 0.02, "beta": 0.6, "bias": 2.0}, shape=(2, 4, 3, 5))]
    compare(forms, images())


def test_a_large_mean_costs_no_digits() -> None:
    """float64 is the oracle: float32 sums of squares would keep no digit of the deviations."""
    rng = np.random.default_rng(1)
    image = (1000 + rng.standard_normal(IMAGE)).astype(np.float32)
    forms = [
        (Form("InstanceNormalization", {}, vectors(6, names="sb")), (2, 3)),
        (Form("LayerNormalization", {"axis": 1}, vectors(6, 5, 7, names="sb")), (1, 2, 3)),
        (Form("GroupNormalization", {"num_groups": 1}, vectors(1, names="sb")), (1, 2, 3)),
    ]
    machine = compiled(model_of([form for form, _ in forms], IMAGE))
    for i, (form, axes) in enumerate(forms):
        wide = image.astype(np.float64)
        expected = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
        scale, bias = (v.reshape(-1, 1, 1) if v.ndim == 1 else v for v in form.constants.values())
        np.testing.assert_allclose(machine.run(f"y{i}", image), expected * scale + bias, rtol=1e-6, atol=1e-6)


REFUSED = {
    "BatchNormalization must not be in training mode; export the model in evaluation mode": (
        "BatchNormalization",
        {"training_mode": 1},
    ),
    "size of LRN must be odd, not 4; onnxruntime has no even ones": ("LRN", {"size": 4}),
    "p of LpNormalization must be 1 or 2, not 3": ("LpNormalization", {"p": 3}),
    "LayerNormalization must be of float32 and compute in it": ("LayerNormalization", {"stash_type": 11}),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    op, attributes = REFUSED[text]
    constants = {i: np.ones(4, np.float32) for i in range(1, 5)}
    call = call_of(op, attributes, (1, 4, 5, 4), constants, (1, 4, 5, 4))
    with pytest.raises(UnsupportedError, match=text):
        lower_call("node", call)
