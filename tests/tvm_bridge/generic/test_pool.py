"""Pooling against onnxruntime: windows of every kind over one to three axes, and over all of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.generic import lower_call
from tests.tvm_bridge.generic.forms import Form, call_of, compare, compiled, model_of

IMAGE = (1, 3, 12, 14)
AUTO = ("VALID", "SAME_UPPER", "SAME_LOWER")


def images() -> list[np.ndarray]:
    """Noise, and negative numbers alone: a zero of the padding would win."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(IMAGE).astype(np.float32), rng.uniform(-9, -1, IMAGE).astype(np.float32)]


def random_form(rng: np.random.Generator, op: str, **others: object) -> Form:
    """A form whose windows fit, of one to three spatial axes."""
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    spatial = tuple(int(n) for n in rng.integers(4, {1: 40, 2: 12, 3: 7}[rank], rank))
    kernel = [int(k) for k in rng.integers(1, 4, rank)]
    attributes: dict[str, object] = {"kernel_shape": kernel, **others}
    if rng.integers(4):
        attributes["strides"] = [int(s) for s in rng.integers(1, 4, rank)]
    kind = rng.integers(4)
    if kind == 0:
        attributes["auto_pad"] = str(rng.choice(AUTO))
    elif kind > 1:
        attributes["pads"] = [int(rng.integers(0, k)) for k in [*kernel, *kernel]]
    if kind and rng.integers(2):
        attributes["dilations"] = [int(d) for d in rng.integers(1, 3, rank)]
    if kind and rng.integers(2):
        attributes["ceil_mode"] = 1
    form = Form(op, attributes, {}, None, (1, 2, *spatial))
    return form if _fits(form) else random_form(rng, op, **others)


def _fits(form: Form) -> bool:
    assert form.shape is not None
    kernel, rank = form.attributes["kernel_shape"], len(form.shape) - 2
    dilations = form.attributes.get("dilations", [1] * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    strides = form.attributes.get("strides", [1] * rank)
    if form.attributes.get("count_include_pad") and "ceil_mode" in form.attributes and rank > 1:
        return False  # where one axis rounds up and another one down, it is refused
    if "auto_pad" in form.attributes and any(s > span for s, span in zip(strides, spans, strict=True)):
        return False  # onnxruntime has no such form
    return all(span <= n for span, n in zip(spans, form.shape[2:], strict=True)) and np.prod(form.shape) <= 504


@pytest.mark.parametrize("seed", range(3))
def test_largest_of_windows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare([random_form(rng, "MaxPool") for _ in range(30)], images(), rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(2))
def test_indices_of_the_largest(seed: int) -> None:
    """Ties too: the image has few values, so that the first position counts."""
    rng = np.random.default_rng(seed)
    forms = [random_form(rng, "MaxPool", storage_order=int(rng.integers(2))) for _ in range(20)]
    forms = [Form(f.op, f.attributes, {}, None, f.shape, 2, 1, integer_result=True) for f in forms]
    tied = np.round(images()[0] * 2)
    compare(forms, [*images(), tied], rtol=0, atol=0)


@pytest.mark.parametrize("counts_padding", [0, 1])
def test_means_of_windows(counts_padding: int) -> None:
    rng = np.random.default_rng(counts_padding)
    compare([random_form(rng, "AveragePool", count_include_pad=counts_padding) for _ in range(40)], images())


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norms_of_windows(p: int) -> None:
    rng = np.random.default_rng(p)
    compare([random_form(rng, "LpPool", p=p) for _ in range(20)], images())


def test_pooling_over_all_positions() -> None:
    ops = [("GlobalMaxPool", {}), ("GlobalAveragePool", {}), *(("GlobalLpPool", {"p": p}) for p in (1, 2, 3))]
    shapes = [None, (2, 3, 5), (1, 2, 3, 4, 5)]
    forms = [Form(op, attributes, shape=shape) for op, attributes in ops for shape in shapes]
    compare(forms, images())


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 12, 18, 19, 21, 22])
def test_every_opset(opset: int) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    ceil = {"ceil_mode": 1} if opset >= 10 else {}
    forms = [Form("MaxPool", attributes | ceil), Form("AveragePool", attributes | {"count_include_pad": 1})]
    forms += [Form("LpPool", attributes), Form("GlobalAveragePool"), Form("GlobalMaxPool")]
    forms += [Form("GlobalLpPool", {"p": 1})] * (opset < 22)
    forms += [Form("AveragePool", {"kernel_shape": [3, 4], "auto_pad": auto}) for auto in ("SAME_UPPER", "SAME_LOWER")]
    compare(forms, images(), opset)


def test_a_window_with_nan_is_nan_and_padding_never_wins() -> None:
    image = np.full(IMAGE, -np.inf, np.float32)
    image[0, 0, 0, 0] = np.nan
    form = Form("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
    machine = compiled(model_of([form], IMAGE))
    result = machine.run("y0", image)
    assert np.isnan(result[0, 0, :2, :2]).all()
    result[0, 0, :2, :2] = -np.inf
    assert np.isneginf(result).all()


UNPOOL = {
    "kernel_shape": [2, 2],
    "strides": [2, 2],
}


@pytest.mark.parametrize("shape", [None, (1, 3, 13, 14)])
def test_maxima_go_back_to_where_they_were(shape: tuple[int, ...] | None) -> None:
    """MaxPool with indices, then MaxUnpool; with output_shape the indices are of that shape, as in onnxruntime."""
    constants = {} if shape is None else {"shape": np.array(shape)}
    pooling = Form("MaxPool", UNPOOL, outputs=2)
    compare([Form("MaxUnpool", UNPOOL, constants, ("0", "1", *constants), before=(pooling,))], images(), rtol=0, atol=0)


def test_one_axis_that_rounds_up_and_one_that_rounds_down_and_padding_that_counts_are_refused() -> None:
    attributes = {"kernel_shape": [1, 3], "strides": [3, 3], "count_include_pad": 1, "ceil_mode": 1}
    with pytest.raises(UnsupportedError, match="the last window of AveragePool must not start in the padding"):
        compare([Form("AveragePool", attributes, shape=(1, 2, 5, 5))], images())


def test_indices_that_are_constants() -> None:
    indices = np.array([[[[0, 3], [9, 15]]]])
    compare([Form("MaxUnpool", UNPOOL, {"indices": indices}, shape=(1, 1, 2, 2))], images(), rtol=0, atol=0)


REFUSED = {
    "auto_pad of MaxPool must be one of NOTSET, VALID, SAME_UPPER, SAME_LOWER, not SAME": {"auto_pad": "SAME"},
    "strides of MaxPool must be 1 positive numbers, not .0.": {"strides": (0,)},
    "pads of MaxPool must be 2 positive numbers, not .1.": {"pads": (1,)},
    "kernel_shape of MaxPool must have 1 sizes, not 2": {"kernel_shape": (2, 2)},
    "attribute shape of MaxPool is not implemented": {"shape": 1},
}


def test_strides_that_leave_out_what_auto_pad_would_cut_off_are_refused() -> None:
    attributes = {"kernel_shape": (1,), "strides": (3,), "auto_pad": "SAME_UPPER"}
    for op, text in (
        ("MaxPool", "auto_pad SAME_UPPER of MaxPool"),
        ("AveragePool", "auto_pad SAME_UPPER of AveragePool"),
    ):
        call = call_of(op, attributes, (1, 1, 9), {}, (1, 1, 3))
        with pytest.raises(UnsupportedError, match=f"{text} must not cut off 2 elements, which onnxruntime"):
            lower_call("node", call)


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    call = call_of("MaxPool", {"kernel_shape": (2,), **REFUSED[text]}, (1, 1, 8), {}, (1, 1, 7))
    with pytest.raises(UnsupportedError, match=text):
        lower_call("node", call)


def test_a_norm_of_no_power_is_refused() -> None:
    call = call_of("LpPool", {"kernel_shape": (2,), "p": 0}, (1, 1, 8), {}, (1, 1, 7))
    with pytest.raises(UnsupportedError, match="p of a norm must be positive, not 0"):
        lower_call("node", call)
