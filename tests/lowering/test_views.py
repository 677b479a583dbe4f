"""View nodes against onnxruntime: the elements a view sees are those the operator returns."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgemtl.graph import shape_of
from edgemtl.lowering.ir import View, dense
from edgemtl.lowering.views import is_view, look
from tests.codegen.graphs import int64, parse


def elements(view: View, buffer: np.ndarray) -> np.ndarray:
    """What the view sees of a flat buffer, index by index."""
    indices = np.indices(view.shape).reshape(len(view.shape), -1)
    places = view.offset + (np.array(view.strides).reshape(-1, 1) * indices).sum(0)
    return buffer[places.astype(np.int64)].reshape(view.shape)


def replay(model: ir.Model, buffer: np.ndarray) -> list[np.ndarray]:
    start = model.graph.inputs[0]
    views = {start: dense("b", shape_of(start))}
    for node in model.graph:
        assert is_view(node)
        for output, view in zip(node.outputs, look(node, views[node.inputs[0]]), strict=True):
            assert view is not None
            views[output] = view
    return [elements(views[output], buffer) for output in model.graph.outputs]


CASES = {
    "transpose": ("(float[2,3,4] x) => (y) {y = Transpose<perm = [2, 0, 1]>(x)}", {}),
    "transpose without perm": ("(float[2,3,4] x) => (y) {y = Transpose(x)}", {}),
    "reshape": ("(float[2,3,4] x) => (y) {y = Reshape(x, s)}", {"s": int64(6, -1)}),
    "flatten": ("(float[2,3,4] x) => (y) {y = Flatten<axis = 1>(x)}", {}),
    "identity": ("(float[2,3,4] x) => (y) {y = Identity(x)}", {}),
    "squeeze and unsqueeze": (
        "(float[1,3,4] x) => (y) {a = Squeeze(x, z) \n y = Unsqueeze(a, o)}",
        {"z": int64(0), "o": int64(1)},
    ),
    "slice with steps": (
        "(float[2,9,4] x) => (y) {y = Slice(x, b, e, a, s)}",
        {"b": int64(1, 0), "e": int64(9223372036854775807, -1), "a": int64(1, 2), "s": int64(2, 1)},
    ),
    "slice without axes": (
        "(float[5,4] x) => (y) {y = Slice(x, b, e)}",
        {"b": int64(1, 1), "e": int64(4, 3)},
    ),
    "split": ("(float[2,9] x) => (y, z) {y, z = Split<axis = 1>(x, n)}", {"n": int64(4, 5)}),
    "gather": ("(float[3,4,5] x) => (y) {y = Gather<axis = 1>(x, i)}", {"i": np.array(-2, np.int64)}),
    "expand": ("(float[3,1] x) => (y) {y = Expand(x, s)}", {"s": int64(2, 3, 4)}),
    "heads of attention": (
        "(float[1,6,24] x) => (q, k, v) {a = Reshape(x, s) \n b = Transpose<perm = [2, 0, 3, 1, 4]>(a)"
        "\n c, d, e = Split<axis = 0, num_outputs = 3>(b) \n q = Squeeze(c, z)"
        "\n k = Squeeze(d, z) \n v = Squeeze(e, z)}",
        {"s": int64(1, 6, 3, 2, 4), "z": int64(0)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_views_see_what_the_operators_return(case: str) -> None:
    text, constants = CASES[case]
    model = parse(f"g {text}", **constants)
    shape = shape_of(model.graph.inputs[0])
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for seen, expected in zip(replay(model, x.reshape(-1)), session.run(None, {"x": x}), strict=True):
        np.testing.assert_array_equal(seen, expected)


def test_a_reshape_that_needs_a_copy_is_not_a_view() -> None:
    model = parse("g (float[4,6] x) => (y) {a = Transpose(x) \n y = Reshape(a, s)}", s=int64(24))
    transpose, reshape = model.graph
    (seen,) = look(transpose, dense("b", (4, 6)))
    assert seen is not None
    assert look(reshape, seen) == (None,)


@pytest.mark.parametrize(
    "text",
    [
        "(float[4] x) => (y) {y = Slice(x, b, e, a, m)}",  # backwards
        "(float[4,4] x) => (y) {y = Gather(x, e)}",  # a vector of indices
        "(float[4] x, int64[1] n) => (y) {y = Slice(x, n, e)}",  # bounds that are computed
    ],
)
def test_what_moves_data_is_not_a_view(text: str) -> None:
    constants = {"b": int64(3), "e": int64(0), "a": int64(0), "m": int64(-1)}
    model = parse(f"g {text}", **{k: v for k, v in constants.items() if f"{k}," in text or f"{k})" in text})
    assert not is_view(model.graph[0])


def test_a_view_is_dense_only_from_an_aligned_address() -> None:
    whole = dense("b", (4, 16))
    assert whole.apply(lambda a: a[1:]).is_dense
    assert not dense("b", (4, 6)).apply(lambda a: a[1:]).is_dense
    assert not whole.transpose((1, 0)).is_dense
