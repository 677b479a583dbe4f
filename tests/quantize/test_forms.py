"""Generic nodes, norms, reductions and groups in integers: near onnxruntime, the law's bits, and a QDQ file."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgemtl.lowering.execute import run_steps
from tests.codegen.graphs import int64, random
from tests.quantize.forms import exchanged_db, judge, quantised

IMAGE = "float[1,3,8,12] image"
CONV = "a = Conv<pads = [1, 1, 1, 1]>(image, w)"
CONSTANTS = {
    "w": random(8, 3, 3, 3, scale=0.3),
    "v": random(8, 8, 3, 3, seed=1, scale=0.2),
    "grouped": random(8, 2, 3, 3, seed=2, scale=0.3),
    "rows": int64(1, 2, 4, 96),
    "tokens": int64(1, 96, 8),
    "heads": int64(1, 96, 2, 4),
    "split": int64(4, 4),
    "m": random(8, 8, seed=3, scale=0.4),
    "stack": random(2, 4, 8, seed=4, scale=0.4),
    "bias": random(1, 2, 96, 96, seed=5),
    "mask": np.where(random(1, 1, 96, 96, seed=6) > 1, np.float32(-np.inf), np.float32(0)),
    "far": np.where(random(1, 1, 96, 96, seed=6) > 1, np.float32(-1e9), np.float32(0)),
    "two": np.array(2, np.float32),
    "channels": random(8, 1, 1, seed=7),
    "gamma": random(8, seed=8),
    "beta": random(8, seed=9),
    "ones": np.ones(2, np.float32),
    "zeros": np.zeros(2, np.float32),
    "groups": int64(1, 2, -1),
    "image_shape": int64(1, 8, 8, 12),
    "over_channels": int64(1),
    "over_two": int64(1, 3),
    "over_rows": int64(-1),
    "over_all": int64(0, 1, 2, 3),
}
SPLIT = "q, k, v4 = Split<axis = 1>(t, thirds)"
HEADS = """r = Reshape(a, tokens_first)
    t = Transpose<perm = [0, 2, 1]>(r)
    h = Reshape(t, heads)
    q = Transpose<perm = [0, 2, 1, 3]>(h)
    k = Transpose<perm = [0, 2, 3, 1]>(h)"""
CONSTANTS["tokens_first"] = int64(1, 8, 96)
CONSTANTS["small"] = np.array(1e-5, np.float32)
CONSTANTS["shifts"] = random(8, 1, 1, seed=9)
TOKENS = "r = Reshape(a, tokens_first) \n t = Transpose<perm = [0, 2, 1]>(r)"
END = "y = Conv<pads = [1, 1, 1, 1]>(b, v)"
BODIES = {
    "a product of two": "r = Reshape(a, rows) \n s = Transpose<perm = [0, 1, 3, 2]>(r) \n y = MatMul(r, s)",
    "a product with a stack": "r = Reshape(a, tokens_first) \n t = Reshape(r, stacked) \n y = MatMul(stack, t)",
    "an Einsum": 'r = Reshape(a, rows) \n y = Einsum<equation = "bhcm,bgcm->bhmg">(r, r)',
    "a softmax over channels": "b = Softmax<axis = 1>(a) \n y = Conv<pads = [1, 1, 1, 1]>(b, v)",
    "a softmax at the end": "y = Softmax<axis = -1>(a)",
    "attention": f"{HEADS} \n s = MatMul(q, k) \n p = Softmax<axis = -1>(s) \n y = MatMul(p, q)",
    "attention with a bias": f"{HEADS} \n s = MatMul(q, k) \n b = Add(s, bias) \n p = Softmax(b) \n y = MatMul(p, q)",
    "attention with an infinite mask": f"{HEADS} \n s = MatMul(q, k) \n h2 = Div(s, two) \n b = Add(h2, mask) \n"
    " p = Softmax(b) \n y = MatMul(p, q)",
    "attention with a mask far below": f"{HEADS} \n s = MatMul(q, k) \n h2 = Mul(s, two) \n b = Add(h2, far) \n"
    " p = Softmax(b) \n y = MatMul(p, q)",
    "a product with constants": "b = Mul(a, channels) \n y = Conv<pads = [1, 1, 1, 1]>(b, v)",
    "a convolution in groups": "b = Conv<pads = [1, 1, 1, 1], group = 4>(a, grouped) \n c = Relu(b)"
    " \n y = Conv<pads = [1, 1, 1, 1]>(c, v)",
    "a strided convolution in groups at the end": "b = Conv<strides = [2, 2], group = 4>(a, grouped) \n y = Sigmoid(b)",
    "an InstanceNorm": "b = InstanceNormalization(a, gamma, beta) \n y = Conv<pads = [1, 1, 1, 1]>(b, v)",
    "a GroupNorm": "g = Reshape(a, groups) \n n = InstanceNormalization(g, ones, zeros) \n b = Reshape(n, image_shape)"
    " \n y = Conv<pads = [1, 1, 1, 1]>(b, v)",
    "an L2 norm over channels": "b = LpNormalization<axis = 1, p = 2>(a) \n y = Conv<pads = [1, 1, 1, 1]>(b, v)",
    "a LayerNorm at the end": "r = Reshape(a, tokens_first) \n t = Transpose<perm = [0, 2, 1]>(r)"
    " \n y = LayerNormalization<axis = -1>(t, gamma, beta)",
    "a LayerNorm before a product": "r = Reshape(a, tokens_first) \n t = Transpose<perm = [0, 2, 1]>(r)"
    " \n n = LayerNormalization<axis = -1>(t, gamma, beta) \n y = MatMul(r, n)",
    "a mean over channels": "b = ReduceMean<keepdims = 1>(a, over_channels) \n c = Mul(a, b) \n y = Conv(c, v)",
    "the largest of two axes": "b = ReduceMax<keepdims = 1>(a, over_two) \n c = Mul(a, b) \n y = Conv(c, v)",
    "a sum of rows": "b = ReduceSum<keepdims = 1>(a, over_rows) \n c = Mul(a, b) \n y = Conv(c, v)",
    "a mean of everything": "b = Relu(a) \n y = ReduceMean<keepdims = 0>(b, over_rows)",
    "an RMSNorm written out": f"{TOKENS} \n q = Mul(t, t) \n m1 = ReduceMean(q, over_rows) \n e = Add(m1, small)"
    " \n s = Sqrt(e) \n i = Reciprocal(s) \n n = Mul(t, i) \n g = Mul(n, gamma) \n y = MatMul(g, m)",
    "an RMSNorm by a division": f"{TOKENS} \n q = Pow(t, two) \n m1 = ReduceMean(q, over_rows) \n e = Add(small, m1)"
    " \n s = Sqrt(e) \n n = Div(t, s) \n y = MatMul(n, m)",
    "an L2 norm over channels written out": "q = Mul(a, a) \n m1 = ReduceSum(q, over_channels) \n e = Add(m1, small)"
    f" \n s = Sqrt(e) \n b = Div(a, s) \n {END}",
    "an L2 norm over channels, bounded from below": "n = ReduceL2<keepdims = 1>(a, over_channels) \n m1 = Max(small, n)"
    f" \n b = Div(a, m1) \n {END}",
    "a LayerNorm over channels written out": "u = ReduceMean(a, over_channels) \n c = Sub(a, u) \n q = Mul(c, c)"
    " \n m1 = ReduceMean(q, over_channels) \n e = Add(m1, small) \n s = Sqrt(e) \n n = Div(c, s)"
    f" \n g = Mul(channels, n) \n b = Add(g, shifts) \n {END}",
    "a LayerNorm written out, without a gain": f"{TOKENS} \n u = ReduceMean(t, over_rows) \n c = Sub(t, u)"
    " \n q = Pow(c, two) \n m1 = ReduceMean(q, over_rows) \n e = Add(m1, small) \n s = Sqrt(e) \n n = Div(c, s)"
    " \n y = MatMul(n, m)",
    "a split": "b, c = Split<axis = 1>(a, split) \n d = Mul(b, c) \n e = Concat<axis = 1>(d, b) \n y = Conv(e, v)",
}
CONSTANTS["stacked"] = int64(1, 8, 96)


def used(body: str) -> dict[str, np.ndarray]:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: array for name, array in CONSTANTS.items() if name in words}


@pytest.mark.parametrize("name", BODIES)
def test_a_form(name: str) -> None:
    body = f"{CONV} \n {BODIES[name]}"
    form = quantised(f"t ({IMAGE}) => (y) {{{body}}}", **used(body))
    judge(form)
    assert exchanged_db(form) > 25


def test_attention_over_q_k_and_v_that_are_copied_has_a_scale_for_each() -> None:
    """Side by side in a buffer that no single layer writes, they are multiplied one by one."""
    body = f"""{HEADS}
    f = Mul(h, gain)
    g = Transpose<perm = [0, 2, 1, 3]>(f)
    s = MatMul(q, k)
    p = Softmax<axis = -1>(s)
    y = MatMul(p, g)"""
    text = f"t ({IMAGE}) => (y) {{{CONV} \n {body}}}"
    form = quantised(text, **used(f"{CONV} {body}"), gain=random(1, 96, 2, 1, seed=3))
    assert "QAttention" not in form.kinds
    assert form.kinds.count("QProduct") == 2
    judge(form)


def test_an_l2_norm_with_a_large_bound_keeps_it_in_a_qdq_file() -> None:
    """It runs in float32, as vectors below the bound are not normalised."""
    body = f"{CONV} \n n = ReduceL2<keepdims = 1>(a, over_channels) \n m1 = Max(n, two) \n b = Div(a, m1) \n {END}"
    form = quantised(f"t ({IMAGE}) => (y) {{{body}}}", require_int8=False, **used(body))
    assert len(form.integers.islands) == 1
    assert form.float_noise() > 80
    assert form.noise() > 25
    assert exchanged_db(form) > 25


FINAL = {
    "bilinear by 4": 'y = Resize<mode = "linear">(a, empty, by_4)',
    "bilinear to a size": 'y = Resize<mode = "linear">(a, empty, empty, to_size)',
    "align corners": 'y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(a, empty, by_3)',
    "cubic": 'y = Resize<mode = "cubic">(a, empty, by_4)',
    "nearest": 'y = Resize<mode = "nearest", nearest_mode = "floor">(a, empty, by_3)',
}
SCALES = {
    "empty": np.zeros(0, np.float32),
    "by_4": np.array([1, 1, 4, 4], np.float32),
    "by_3": np.array([1, 1, 3, 3], np.float32),
    "to_size": int64(1, 8, 21, 50),
}


@pytest.mark.parametrize("name", FINAL)
def test_a_final_resize_has_16_bits(name: str) -> None:
    """Within a few of these LSB of what onnxruntime makes of the layer in front, so as accurate as without it."""
    body = f"{CONV} \n {FINAL[name]}"
    words = used(body) | {n: a for n, a in SCALES.items() if n in body}
    form = quantised(f"t ({IMAGE}) => (y) {{{body}}}", **words)
    plain = quantised(f"t ({IMAGE}) => (y) {{{CONV.replace('a =', 'y =')}}}", w=CONSTANTS["w"])
    judge(form)
    assert "QResample" in form.kinds
    assert form.noise() > plain.noise() - 3
    assert exchanged_db(form) > 25


def test_the_largest_of_16_bits_is_chosen_by_integers() -> None:
    """The index of each pixel's largest channel: onnxruntime's wherever the two largest are apart."""
    body = f"{CONV} \n y = ArgMax<axis = 1, keepdims = 0>(a)"
    form = quantised(f"t ({IMAGE}) => (int64[1,8,12] y) {{{body}}}", w=CONSTANTS["w"])
    assert form.integers.all_integer
    assert not form.integers.islands
    session = onnxruntime.InferenceSession(ir.to_proto(form.task.ir).SerializeToString())
    for image in form.fresh:
        (expected,) = session.run(None, image)
        assert (run_steps(form.integers.steps, image).reshape(expected.shape) == expected).mean() > 0.95
