"""Each pattern on a hand-made graph: which nodes it takes, and which near misses it leaves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgemtl.lowering.match import Group, Refusal, cover
from edgemtl.lowering.patterns import PATTERNS
from tests.codegen.graphs import int64, parse, random


def groups(model: ir.Model) -> list[Group]:
    def left(node: ir.Node, refusal: Refusal | None) -> Group:
        return Group("left", (node,), lambda em: None, refusal.reason if refusal else "")

    return cover(list(model.graph), PATTERNS, left)


def kinds(model: ir.Model) -> list[str]:
    return [group.how for group in groups(model) if group.how != "view"]


def test_linear_takes_bias_activation_and_residual() -> None:
    body = "a = MatMul(x, w) \n b = Add(bias, a) \n c = Gelu(b) \n y = Add(r, c)"
    model = parse(f"g (float[1,6,8] x, float[1,6,16] r) => (y) {{{body}}}", w=random(8, 16), bias=random(16))
    assert kinds(model) == ["linear"]


def test_a_value_read_twice_ends_the_linear_pattern() -> None:
    model = parse("g (float[6,8] x) => (y, a) {a = MatMul(x, w) \n y = Relu(a)}", w=random(8, 16))
    assert kinds(model) == ["linear", "left"]


def test_a_residual_of_another_shape_is_a_sum_of_its_own() -> None:
    model = parse("g (float[6,8] x, float[1,16] r) => (y) {a = MatMul(x, w) \n y = Add(a, r)}", w=random(8, 16))
    assert kinds(model) == ["linear", "add"]


def test_two_linears_that_meet_share_one_residual() -> None:
    text = "g (float[6,8] x) => (y) {a = MatMul(x, w) \n b = MatMul(x, v) \n y = Add(a, b)}"
    model = parse(text, w=random(8, 16), v=random(8, 16, seed=1))
    assert kinds(model) == ["linear", "linear"]


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_is_a_linear(transposed: int) -> None:
    model = parse(
        f"g (float[6,8] x) => (y) {{a = Gemm<transB = {transposed}, alpha = 0.5>(x, w, b) \n y = Relu(a)}}",
        w=random(16, 8) if transposed else random(8, 16),
        b=random(16),
    )
    assert kinds(model) == ["linear"]


def test_a_one_by_one_convolution_is_a_linear_of_pixels() -> None:
    model = parse("g (float[1,8,3,5] x) => (y) {a = Conv(x, w, b) \n y = Relu(a)}", w=random(16, 8, 1, 1), b=random(16))
    assert kinds(model) == ["linear"]


NORM = """g (float[1,6,8] x) => (y) {
  mean = ReduceMean(x, axes)
  d = Sub(x, mean)
  p = Pow(d, two)
  v = ReduceMean(p, axes)
  e = Add(v, eps)
  s = Sqrt(e)
  n = Div(d, s)
  m = Mul(n, gamma)
  y = Add(m, beta)
}"""
NORM_CONSTANTS = {
    "axes": int64(-1),
    "two": np.float32(2),
    "eps": np.float32(1e-6),
    "gamma": random(8),
    "beta": random(8, seed=1),
}


def test_a_norm_written_out_is_one_norm() -> None:
    assert kinds(parse(NORM, **NORM_CONSTANTS)) == ["layer_norm"]


def test_a_norm_that_squares_by_multiplying_is_one_norm() -> None:
    constants = {k: v for k, v in NORM_CONSTANTS.items() if k != "two"}
    assert kinds(parse(NORM.replace("Pow(d, two)", "Mul(d, d)"), **constants)) == ["layer_norm"]


def test_a_norm_over_another_axis_leaves_gains_along_the_last() -> None:
    assert kinds(parse(NORM, **{**NORM_CONSTANTS, "axes": int64(1)})) == ["root_norm", "left", "left"]


QKV = """g (float[1,6,24] x) => (y) {
  a = Reshape(x, s)
  b = Transpose<perm = [2, 0, 3, 1, 4]>(a)
  q0, k0, v0 = Split<axis = 0, num_outputs = 3>(b)
  q = Squeeze(q0, z)
  k = Squeeze(k0, z)
  v = Squeeze(v0, z)
  t = Transpose<perm = [0, 1, 3, 2]>(k)
  %s
  o = MatMul(p, v)
  u = Transpose<perm = [0, 2, 1, 3]>(o)
  y = Reshape(u, back)
}"""
SCALES = {
    "scores": "m = MatMul(q, t) \n n = Mul(m, f) \n p = Softmax<axis = -1>(n)",
    "divided": "m = MatMul(q, t) \n n = Div(m, f) \n p = Softmax<axis = -1>(n)",
    "q": "r = Mul(q, f) \n m = MatMul(r, t) \n p = Softmax<axis = 3>(m)",
    "q and k": "r = Mul(q, f) \n w = Mul(t, f) \n m = MatMul(r, w) \n p = Softmax<axis = -1>(m)",
    "none": "m = MatMul(q, t) \n p = Softmax<axis = -1>(m)",
}
QKV_CONSTANTS = {"s": int64(1, 6, 3, 2, 4), "z": int64(0), "back": int64(1, 6, 8)}


@pytest.mark.parametrize("scale", SCALES)
def test_attention_with_its_scale_in_any_place(scale: str) -> None:
    constants = dict(QKV_CONSTANTS) if scale == "none" else {**QKV_CONSTANTS, "f": np.float32(0.5)}
    assert kinds(parse(QKV % SCALES[scale], **constants)) == ["attention"]


SEPARATE = """g (float[1,6,8] x) => (y) {
  q0 = MatMul(x, wq)
  k0 = MatMul(x, wk)
  v0 = MatMul(x, wv)
  q1 = Add(q0, b)
  v1 = Add(v0, b)
  q2 = Reshape(q1, s)
  k2 = Reshape(k0, s)
  v2 = Reshape(v1, s)
  q3 = Transpose<perm = [0, 2, 1, 3]>(q2)
  t = Transpose<perm = [0, 2, 3, 1]>(k2)
  v = Transpose<perm = [0, 2, 1, 3]>(v2)
  q = Mul(q3, f)
  m = MatMul(q, t)
  p = Softmax<axis = -1>(m)
  o = MatMul(p, v)
  u = Transpose<perm = [0, 2, 1, 3]>(o)
  y = Reshape(u, back)
}"""
SEPARATE_CONSTANTS = {
    "wq": random(8, 8),
    "wk": random(8, 8, seed=1),
    "wv": random(8, 8, seed=2),
    "b": random(8),
    "s": int64(1, 6, 2, 4),
    "f": np.float32(0.5),
    "back": int64(1, 6, 8),
}


def test_separate_projections_join_attention() -> None:
    assert kinds(parse(SEPARATE, **SEPARATE_CONSTANTS)) == ["attention"]


def test_masked_attention_is_left_with_a_reason() -> None:
    body = "m = MatMul(q, t) \n n = Add(m, mask) \n p = Softmax<axis = -1>(n)"
    found = groups(parse(QKV % body, **QKV_CONSTANTS, mask=random(6, 6)))
    assert "attention" not in [group.how for group in found]
    assert [group.reason for group in found if group.reason] == [
        "attention scores must be a scaled product of q and k, not a sum with a mask"
    ]


EMBED = "g (float[1,3,16,24] image) => (y) {a = Conv<strides = [8, 8]>(image, w, b) \n r = Reshape(a, s) %s}"
EMBED_CONSTANTS = {"w": random(16, 3, 8, 8), "b": random(16), "s": int64(1, 16, 6)}


def test_patch_embedding_with_class_token_and_positions() -> None:
    body = "\n t = Transpose<perm = [0, 2, 1]>(r) \n c = Concat<axis = 1>(cls, t) \n y = Add(c, pos)"
    model = parse(EMBED % body, **EMBED_CONSTANTS, cls=random(1, 1, 16), pos=random(1, 7, 16))
    assert kinds(model) == ["patch_embed"]


def test_patch_embedding_alone() -> None:
    assert kinds(parse(EMBED % "\n y = Transpose<perm = [0, 2, 1]>(r)", **EMBED_CONSTANTS)) == ["patch_embed"]


def test_convolution_with_upsampling_relu_and_a_last_one_by_one() -> None:
    text = """g (float[1,16,4,6] x) => (y) {
      u = Resize<mode = "linear">(x, , scales)
      a = Conv<pads = [1, 1, 1, 1]>(u, w, b)
      r = Relu(a)
      y = Conv(r, p)
    }"""
    constants = {"scales": np.array([1, 1, 2, 2], np.float32), "w": random(16, 16, 3, 3), "b": random(16)}
    assert kinds(parse(text, **constants, p=random(4, 16, 1, 1))) == ["conv"]


def test_an_upsampled_image_read_twice_is_made_once() -> None:
    text = """g (float[1,16,4,6] x) => (y, u) {
      u = Resize<mode = "linear">(x, , scales)
      y = Conv<pads = [1, 1, 1, 1]>(u, w)
    }"""
    model = parse(text, scales=np.array([1, 1, 2, 2], np.float32), w=random(16, 16, 3, 3))
    assert kinds(model) == ["resize", "conv"]


OTHER_RESIZES = (
    'mode = "nearest"',
    'mode = "linear", antialias = 1',
    'mode = "linear", keep_aspect_ratio_policy = "not_larger"',
    'mode = "linear", coordinate_transformation_mode = "align_corners"',
    'mode = "cubic"',
)


@pytest.mark.parametrize("attributes", OTHER_RESIZES)
def test_a_resize_of_another_form_goes_by_taps(attributes: str) -> None:
    text = f"g (float[1,16,5,6] x) => (y) {{y = Resize<axes = [2, 3], {attributes}>(x, , , sizes)}}"
    assert kinds(parse(text, sizes=int64(10, 12))) == ["resample"]


def test_a_resize_that_reads_outside_the_image_is_left_with_a_reason() -> None:
    attributes = 'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"'
    text = f"g (float[1,16,5,6] x) => (y) {{y = Resize<{attributes}>(x, roi, , sizes)}}"
    roi = np.array([0, 0, -0.5, 0, 1, 1, 1.5, 1], np.float32)
    (group,) = groups(parse(text, roi=roi, sizes=int64(1, 16, 8, 12)))
    assert group.how == "left"
    assert group.reason == "Resize must be linear with half_pixel coordinates, not linear with tf_crop_and_resize"


def test_a_resize_to_one_pixel_in_pytorchs_coordinates_goes_by_taps() -> None:
    attributes = 'mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"'
    text = f"g (float[1,16,5,6] x) => (y) {{y = Resize<{attributes}>(x, , , sizes)}}"
    assert kinds(parse(text, sizes=int64(1, 16, 1, 3))) == ["resample"]
    assert kinds(parse(text, sizes=int64(1, 16, 2, 3))) == ["resize"]


def test_a_resize_by_scales_of_axes_out_of_order_is_matched_axis_by_axis() -> None:
    text = 'g (float[1,16,4,6] x) => (y) {y = Resize<mode = "linear", axes = [3, 2]>(x, , scales)}'
    assert kinds(parse(text, scales=np.array([2, 3], np.float32))) == ["resize"]


def test_a_resize_by_a_scale_that_leaves_a_fraction_of_a_pixel_goes_by_taps() -> None:
    text = 'g (float[1,16,5,6] x) => (y) {y = Resize<mode = "linear">(x, , scales)}'
    assert kinds(parse(text, scales=np.array([1, 1, 1.5, 2], np.float32))) == ["resample"]


def test_a_patch_embedding_that_is_dilated_or_padded_is_left() -> None:
    for attributes in ("strides = [8, 8], dilations = [2, 2]", 'strides = [8, 8], auto_pad = "SAME_UPPER"'):
        text = EMBED.replace("strides = [8, 8]", attributes)
        assert text != EMBED
        assert "patch_embed" not in kinds(parse(text % "\n y = Transpose<perm = [0, 2, 1]>(r)", **EMBED_CONSTANTS))


def test_groups_come_in_data_flow_order() -> None:
    body = "a = MatMul(x, w) \n b = MatMul(a, v) \n c = Relu(b) \n d = Tanh(a) \n y = Mul(c, d)"
    assert kinds(parse(f"g (float[6,8] x) => (y) {{{body}}}", w=random(8, 8), v=random(8, 8, seed=1))) == [
        "linear",
        "linear",
        "left",
        "multiply",
    ]
