"""Operators through TVM Relax against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.build import Argument, Call, Entry, compile_entries
from edgemtl.tvm_bridge.relax_fallback import FallbackPlan, lower_nodes
from edgemtl.tvm_bridge.target import CpuTarget, resolve
from tests.support.processors import on_each
from tests.tvm_bridge.harness import normal, run

HEADER = '<ir_version: 10, opset_import: ["" : 18]>\n'
X = "agraph (float[1,4,9,10] x) => "
GRAPHS = {
    "sigmoid": X + "(float[1,4,9,10] y) { y = Sigmoid (x) }",
    "erf": X + "(float[1,4,9,10] y) { y = Erf (x) }",
    "a chain": X + "(float[1,4,9,10] y) { a = Abs (x) b = Sqrt (a) c = Exp (b) y = Neg (c) }",
    "concat": X + "(float[1,8,9,10] y) { n = Neg (x) y = Concat <axis = 1> (x, n) }",
    "max pool": X + "(float[1,4,5,5] y) { y = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (x) }",
    "average pool": X + "(float[1,4,4,5] y) { y = AveragePool <kernel_shape=[2,2], strides=[2,2]> (x) }",
    "global pool": X + "(float[1,4,1,1] y) { y = GlobalAveragePool (x) }",
    "softmax of the last axis": X + "(float[1,4,9,10] y) { y = Softmax <axis = -1> (x) }",
    "softmax of channels": X + "(float[1,4,9,10] y) { y = Softmax <axis = 1> (x) }",
    "pow": X + "(float[1,4,9,10] y) <float two = {2.0}> { y = Pow (x, two) }",
    "where": X + "(float[1,4,9,10] y) <float zero = {0.0}> { c = Greater (x, zero) n = Neg (x) y = Where (c, x, n) }",
    "split": X + "(float[1,1,9,10] y, float[1,3,9,10] z) <int64[2] s = {1, 3}> { y, z = Split <axis = 1> (x, s) }",
    "strided convolution": X + "(float[1,2,5,5] y) <float[2] b = {1.0, -1.0}> "
    "{ y = Conv <strides = [2,2], pads = [1,1,1,1]> (x, w, b) }",
    "depthwise convolution": X + "(float[1,4,9,10] y) { y = Conv <group = 4, pads = [1,1,1,1]> (x, d) }",
    "transposed convolution": X + "(float[1,2,18,20] y) { y = ConvTranspose <strides = [2,2]> (x, t) }",
    "nearest resize": X + "(float[1,4,18,20] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}> "
    '{ y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , s) }',
    "mean": X + "(float[1,4,1,1] y) <int64[2] a = {2, 3}> { y = ReduceMean <keepdims = 1> (x, a) }",
    "matmul": X + "(float[1,4,9,9] y) { u = Transpose <perm = [0,1,3,2]> (x) y = MatMul (x, u) }",
    "slice": X + "(float[1,4,3,10] y) <int64[1] b = {1}, int64[1] e = {8}, int64[1] a = {2}, int64[1] p = {3}> "
    "{ y = Slice (x, b, e, a, p) }",
    "instance normalisation": X + "(float[1,4,9,10] y) "
    "<float[4] g = {1.0, 2.0, 3.0, 4.0}, float[4] b = {0.0, 1.0, 0.0, 1.0}> { y = InstanceNormalization (x, g, b) }",
    "argmax": X + "(int64[1,1,9,10] y) { y = ArgMax <axis = 1> (x) }",
    "two outputs of one value": X + "(float[1,4,9,10] y, float[1,4,9,10] z) { y = Exp (x) z = Neg (y) }",
}
WEIGHTS = {"w": (2, 4, 3, 3), "d": (4, 1, 3, 3), "t": (4, 2, 2, 2)}


def parse(text: str) -> onnx.ModelProto:
    """A model from onnx's text format, with the weights it names."""
    model = onnx.parser.parse_model(HEADER + text)
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & WEIGHTS.keys()):
        model.graph.initializer.append(onnx.numpy_helper.from_array(normal(*WEIGHTS[name]), name))
    return model


def execute(plan: FallbackPlan, target: CpuTarget, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every value of a plan by name."""
    values = inputs | dict(plan.constants)
    for step in plan.steps:
        held = [o for o in step.kernel.operands if o.role != "workspace"]
        given = {o.name: values[v] for o, v in zip(held, step.values, strict=True) if o.role != "output"}
        outputs = run(step.kernel, target, **given)
        values |= {v: outputs[o.name] for o, v in zip(held, step.values, strict=True) if o.role == "output"}
    return values


@on_each([resolve("cpu-avx2")])
@pytest.mark.parametrize("name", GRAPHS)
def test_like_onnxruntime(name: str, target: CpuTarget) -> None:
    model, x = parse(GRAPHS[name]), normal(1, 4, 9, 10)
    values = execute(lower_nodes(model, target), target, {"x": x})
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for output, expected in zip(session.get_outputs(), session.run(None, {"x": x}), strict=True):
        assert values[output.name].dtype == expected.dtype
        np.testing.assert_allclose(values[output.name], expected, rtol=2e-5, atol=2e-5)


def test_equal_nodes_are_one_kernel() -> None:
    model, target = parse(GRAPHS["strided convolution"]), resolve("cpu")
    first, second = (lower_nodes(model, target).steps[0].kernel for _ in range(2))
    assert first.symbol == second.symbol
    calls = [Call(k, tuple(Argument("arena", 0) for _ in k.operands)) for k in (first, second)]
    compile_entries([Entry("main", tuple(calls), {"arena": 1 << 16})], target)


def test_an_operator_tvm_does_not_know_is_named() -> None:
    model = parse("agraph (float[1,4] x) => (float[1,4] y) { [myname] y = Det (x) }")
    with pytest.raises(UnsupportedError, match=r"^myname: TVM Relax cannot compile it \(.+\); replace the operator"):
        lower_nodes(model, resolve("cpu-avx2"))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (
            "(float[4,4] x) => (int64[2,n] y) { [me] y = NonZero (x) }",
            "runs it by relax.call_pure_packed, not by loops",
        ),
        (
            "(float[4,n] x) => (float[4,n] y) { [me] y = Exp (x) }",
            r"the shape of x must be known, not \(T.int64\(4\), n",
        ),
        ("(float[4] x) => (float[4] y) { [me] y = Identity (x) }", "an output must be computed, not an input"),
    ],
)
def test_a_node_that_is_no_loops_is_named(graph: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^me: .*{reason}"):
        lower_nodes(parse(f"agraph {graph}"), resolve("cpu-avx2"))
