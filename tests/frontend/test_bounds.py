"""Bounds of elements other than 0: they hold in onnxruntime, and are as low as the operators allow."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import parser

from edgemtl.frontend.recognise.bounds import nonzero_bounds
from edgemtl.frontend.recognise.layout import axis_groups

SCATTER = "v, i = TopK (l, two) \n g = ScatterElements <axis = 1> (zeros, i, v)"
CONSTANTS = {
    "two": np.array([2]),
    "zeros": np.zeros((5, 6), np.float32),
    "zero": np.float32(0),
    "six": np.array([6]),
    "hot": np.array([0, 1], np.float32),
    "last": np.array([1]),
    "grid": np.array([5, 2, 3]),
    "flat": np.array([5, 6]),
    "columns": np.arange(6),
    "eye": np.eye(6, dtype=np.float32),
    "start": np.array([1]),
    "end": np.array([4]),
}


@pytest.mark.parametrize(
    ("text", "axis", "bound"),
    [
        (f"{SCATTER} \n y = Mul (g, l)", 1, 2),
        (f"{SCATTER} \n y = Div (g, l)", 1, 2),
        (f"{SCATTER} \n y = Add (g, g)", 1, 4),
        (f"{SCATTER} \n y = Add (g, l)", 1, None),
        (f"{SCATTER} \n y = Transpose <perm = [1, 0]> (g)", 0, 2),
        (f"{SCATTER} \n y = Unsqueeze (g, two)", 1, 2),
        (f"{SCATTER} \n y = Slice (g, start, end, last)", 1, 2),
        (f"{SCATTER} \n c = Greater (g, zero) \n y = Where (c, l, zero)", 1, 2),
        (f"{SCATTER} \n c = Less (g, zero) \n y = Where (c, l, zero)", 1, None),
        (f"{SCATTER} \n y = Softmax (g)", 1, None),
        (f"{SCATTER} \n y = Concat <axis = 1> (g, g)", 1, 4),
        (f"{SCATTER} \n y = Concat <axis = 0> (g, g)", 1, 2),
        ("i = ArgMax <axis = 1, keepdims = 0> (l) \n y = OneHot (i, six, hot)", 1, 1),
        ("i = ArgMax <axis = 1> (l) \n e = Equal (i, columns) \n y = Cast <to = 1> (e)", 1, 1),
        ("i = ArgMax <axis = 1, keepdims = 0> (l) \n y = Gather (eye, i)", 1, 1),
        ("v, i = TopK (l, two) \n h = OneHot (i, six, hot) \n y = ReduceSum <keepdims = 0> (h, last)", 1, 2),
        ('v, i = TopK (l, two) \n h = OneHot (i, six, hot) \n y = Einsum <equation = "tk,tke->te"> (v, h)', 1, 2),
        (
            "v, i = TopK (l, two) \n w = Unsqueeze (v, last) \n h = OneHot (i, six, hot) \n m = MatMul (w, h)"
            "\n y = Squeeze (m, last)",
            1,
            2,
        ),
        (
            "r = Reshape (l, grid) \n p = ReduceSum (r, two) \n b = ArgMax <axis = 1, keepdims = 0> (p)"
            "\n q = Squeeze (b, last) \n o = OneHot (q, two, hot) \n u = Unsqueeze (o, two)"
            "\n a = ArgMax <axis = 2, keepdims = 0> (r) \n three = Constant <value_ints = [3]> ()"
            "\n h = OneHot (a, three, hot) \n m = Mul (u, h) \n y = Reshape (m, flat)",
            1,
            1,
        ),
    ],
)
def test_bounds_hold_and_are_tight(text: str, axis: int, bound: int | None) -> None:
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> g (float[5, 6] l) => (float[A, B] y) {{ {text} }}'
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in CONSTANTS.items())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = ir.from_proto(inferred).graph
    bounds = nonzero_bounds(graph)[graph.outputs[0]] if graph.outputs[0] in nonzero_bounds(graph) else {}
    assert bounds.get(frozenset({axis})) == bound
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for seed in range(20):
        logits = np.random.default_rng(seed).standard_normal((5, 6)).astype(np.float32)
        y = session.run(None, {"l": logits})[0]
        for axes, count in bounds.items():
            assert (y != 0).sum(tuple(axes)).max() <= count


@pytest.mark.parametrize(
    ("old", "new", "groups"),
    [
        ((5, 2, 3), (5, 6), (((0,), (0,)), ((1, 2), (1,)))),
        ((6,), (1, 2, 3), (((0,), (1, 2)),)),
        ((4, 6), (8, 3), (((0, 1), (0, 1)),)),
        ((5, 1), (1, 5), (((0,), (1,)),)),
    ],
)
def test_groups_of_axes(old: tuple[int, ...], new: tuple[int, ...], groups: object) -> None:
    assert axis_groups(old, new) == groups
