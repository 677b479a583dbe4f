"""Conv, ConvTranspose, blocks of pixels and Col2Im against onnxruntime, in every form."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.generic import lower_call
from tests.tvm_bridge.generic.forms import Form, call_of, compare

IMAGE = (1, 4, 10, 12)


def images() -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)]


def random_conv(rng: np.random.Generator, op: str, rank: int) -> Form:
    """A form with weights, groups, strides, dilations, pads of each kind and bias drawn."""
    spatial = [int(n) for n in rng.integers(3, {1: 30, 2: 9, 3: 5}[rank], rank)]
    kernel = [int(k) for k in rng.integers(1, 4, rank)]
    groups, inner, outer = int(rng.integers(1, 3)), int(rng.integers(1, 3)), int(rng.integers(1, 4))
    shape = (int(rng.integers(1, 3)), groups * inner, *spatial)
    weight = (groups * outer, inner, *kernel) if op == "Conv" else (groups * inner, outer, *kernel)
    attributes: dict[str, object] = {"group": groups}
    strides = [int(s) for s in rng.integers(1, 4, rank)]
    dilations = [int(d) for d in rng.integers(1, 3, rank)]
    kind = int(rng.integers(5))
    if rng.integers(2):
        attributes["strides"] = strides
    if rng.integers(2) and kind < 3:
        attributes["dilations"] = dilations
    if kind in (1, 2):
        attributes["pads"] = [int(p) for p in rng.integers(0, 3, 2 * rank)]
    elif kind == 3:
        attributes["auto_pad"] = str(rng.choice(["VALID", "SAME_UPPER", "SAME_LOWER"]))
    if op == "ConvTranspose" and rng.integers(2) and "strides" in attributes:
        attributes["output_padding"] = [int(rng.integers(0, s)) for s in strides]
    constants = {"w": rng.standard_normal(weight).astype(np.float32)}
    if rng.integers(2):
        constants["b"] = rng.standard_normal(groups * outer).astype(np.float32)
    form = Form(op, attributes, constants, None, shape)
    return form if np.prod(shape) <= np.prod(IMAGE) and _exists(form, kernel) else random_conv(rng, op, rank)


def _exists(form: Form, kernel: list[int]) -> bool:
    """Whether the form has an output, and one that ONNX and onnxruntime agree on."""
    assert form.shape is not None
    rank, attributes = len(kernel), form.attributes
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = attributes.get("pads", [0] * (2 * rank))
    if str(attributes.get("auto_pad", "")).startswith("SAME"):
        return all(s <= span for s, span in zip(strides, spans, strict=True))
    if form.op == "Conv":
        each = zip(form.shape[2:], spans, pads[:rank], pads[rank:], strict=True)
        return all(n + before + after >= span for n, span, before, after in each)
    each_out = zip(form.shape[2:], strides, spans, pads[:rank], pads[rank:], strict=True)
    return all(s * (n - 1) + span - before - after >= 1 for n, s, span, before, after in each_out)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_generated_convolutions(op: str, rank: int, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(len(request.node.name) + rank)
    compare([random_conv(rng, op, rank) for _ in range(30)], images(), atol=2e-5)


def weights(*shape: int) -> dict[str, np.ndarray]:
    return {"w": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}


def test_transposed_convolutions_to_a_given_shape() -> None:
    forms = [
        Form("ConvTranspose", {"strides": [2, 3], "output_shape": shape, **auto}, weights(4, 3, 3, 4))
        for shape in ([20, 36], [21, 35], [19, 34])
        for auto in ({}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"})
    ]
    forms.append(Form("ConvTranspose", {"strides": [4, 4]}, weights(4, 2, 4, 4)))
    forms.append(Form("ConvTranspose", {"strides": [3, 2]}, weights(4, 2, 1, 1)))
    forms.append(Form("ConvTranspose", {"strides": [2, 2], "dilations": [2, 3], "group": 2}, weights(4, 2, 3, 3)))
    compare(forms, images(), atol=2e-5)


def test_weights_and_bias_that_are_computed() -> None:
    turned = Form("Transpose", {"perm": [1, 0, 2, 3]})
    forms = [
        Form(op, {"pads": [1] * 4}, {}, ("x", "0"), (3, 3, 3, 3), before=(turned,)) for op in ("Conv", "ConvTranspose")
    ]
    means = (Form("GlobalAveragePool"), Form("Reshape", {}, {"shape": np.array([4])}))
    for kernel in ((3, 3), (1, 1)):
        forms.append(Form("Conv", {}, weights(4, 4, *kernel), ("x", "w", "0"), before=means))
    compare(forms, images(), atol=2e-5)


def test_pointwise_convolutions_with_strides_and_auto_pad() -> None:
    forms = [
        Form("Conv", {"auto_pad": auto, "strides": [2, 2]}, weights(3, 4, 1, 1))
        for auto in ("SAME_UPPER", "SAME_LOWER")
    ]
    compare(forms, images(), atol=2e-5)


def test_several_images() -> None:
    """The tuned kernels take one image; more of them are left to the generic ones."""
    forms = [Form("Conv", {}, weights(5, 2, *kernel), shape=(2, 2, 6, 7)) for kernel in ((3, 3), (1, 1), (2, 2))]
    compare(forms, images(), atol=2e-5)


@pytest.mark.parametrize("opset", [9, 11, 13, 22])
def test_every_opset(opset: int) -> None:
    forms = [
        Form("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, weights(3, 4, 2, 2)),
        Form("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, weights(4, 3, 3, 3)),
        Form("DepthToSpace", {"blocksize": 2}),
        Form("SpaceToDepth", {"blocksize": 2}),
    ]
    compare(forms, images(), opset, atol=2e-5)


def test_blocks_of_pixels() -> None:
    forms = [Form("DepthToSpace", {"blocksize": 2, "mode": mode}) for mode in ("DCR", "CRD")]
    forms += [Form("DepthToSpace", {"blocksize": 3, "mode": mode}, shape=(2, 18, 2, 3)) for mode in ("DCR", "CRD")]
    forms += [Form("SpaceToDepth", {"blocksize": size}, shape=(1, 2, 6, 6)) for size in (2, 3)]
    compare(forms, images(), rtol=0, atol=0)


def test_columns_to_images() -> None:
    def form(image: list[int], block: list[int], shape: tuple[int, ...], **attributes: object) -> Form:
        return Form("Col2Im", attributes, {"image": np.array(image), "block": np.array(block)}, None, shape)

    forms = [
        form([5, 5], [1, 5], (1, 5, 5)),
        form([6, 5], [2, 3], (2, 12, 15)),
        form([6, 6], [2, 2], (1, 8, 9), strides=[2, 2]),
        form([5, 6], [3, 2], (1, 6, 25), pads=[1, 0, 1, 1], strides=[1, 1], dilations=[1, 2]),
        form([4, 3, 3], [2, 2, 2], (1, 16, 12)),
    ]
    compare(forms, images(), atol=2e-5)


REFUSED = {
    "Conv of 4 channels must have weights for them, not for 1 x 3": ("Conv", {}, (2, 3, 1, 1), (1, 2, 5, 5)),
    "kernel_shape of Conv must be that of its weights, .3, 3.": (
        "Conv",
        {"kernel_shape": (1, 1)},
        (2, 4, 3, 3),
        (1, 2, 3, 3),
    ),
    "output .11, 5. of ConvTranspose must not be larger than what its input reaches": (
        "ConvTranspose",
        {"output_shape": (11, 5)},
        (4, 2, 1, 1),
        (1, 2, 11, 5),
    ),
    "mode of DepthToSpace must be DCR or CRD, not RCD": ("DepthToSpace", {"mode": "RCD"}, (), (1, 1, 10, 10)),
    "mode of SpaceToDepth must be DCR or CRD, not RCD": ("SpaceToDepth", {"mode": "RCD"}, (), (1, 4, 5, 5)),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    op, attributes, weight, output = REFUSED[text]
    constants = {1: np.zeros(weight, np.float32)} if weight else {}
    call = call_of(op, attributes, (1, 4, 5, 5), constants, output)
    with pytest.raises(UnsupportedError, match=text):
        lower_call("node", call)


def test_columns_that_do_not_fit_are_refused() -> None:
    constants = {1: np.array([5, 5]), 2: np.array([2, 2])}
    call = call_of("Col2Im", {}, (1, 4, 20), constants, (1, 1, 5, 5))
    with pytest.raises(UnsupportedError, match="Col2Im must have 16 positions, not 20"):
        lower_call("node", call)
