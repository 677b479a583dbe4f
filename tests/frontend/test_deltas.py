"""Weights stored as differences: added up with onnxruntime's bits, and only in the form that merging writes."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.frontend.deltas import apply_deltas
from edgemtl.merge.delta import insert_delta, make_delta
from tests.support.run import run_onnx

SHAPE = (6, 5)


def model(scale: np.ndarray, bits: int, *, zero_point: bool = False, **attributes: int) -> onnx.ModelProto:
    """x [1, 6] times the sum of a matrix and a difference."""
    rng = np.random.default_rng(0)
    kind = {8: TensorProto.INT8, 4: TensorProto.INT4}[bits]
    limit = (1 << (bits - 1)) - 1
    integers = rng.integers(-limit, limit, SHAPE, endpoint=True)
    constants = [
        numpy_helper.from_array(rng.standard_normal(SHAPE).astype(np.float32), "base"),
        helper.make_tensor("delta", kind, SHAPE, integers.reshape(-1)),
        numpy_helper.from_array(scale, "scale"),
    ]
    read = ["delta", "scale"]
    if zero_point:
        constants.append(helper.make_tensor("zero", kind, scale.shape, np.ones(scale.size, np.int64)))
        read.append("zero")
    nodes = [
        helper.make_node("DequantizeLinear", read, ["difference"], **attributes),
        helper.make_node("Add", ["base", "difference"], ["weight"]),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def scales(count: int) -> np.ndarray:
    return np.random.default_rng(1).random(count, np.float32) / 100


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("scale", "attributes"),
    [(np.float32(0.013), {}), (scales(6), {"axis": 0}), (scales(5), {"axis": 1}), (scales(5), {})],
    ids=["a tensor", "rows", "columns", "the default axis"],
)
def test_sums_have_the_bits_of_onnxruntime(scale, attributes, bits):
    proto = model(np.asarray(scale), bits, **attributes)
    graph = ir.from_proto(proto)
    apply_deltas(graph)
    assert [node.op_type for node in graph.graph] == ["MatMul"]
    for row in np.eye(6, dtype=np.float32):
        feed = {"x": row[None]}
        after = run_onnx(ir.to_proto(graph), feed, optimise=False)["y"]
        np.testing.assert_array_equal(after, run_onnx(proto, feed, optimise=False)["y"])


@pytest.mark.parametrize(
    "other",
    [model(scales(5), 8, zero_point=True), model(scales(6), 8, axis=0, output_dtype=TensorProto.FLOAT)],
    ids=["a zero point", "a type"],
)
def test_other_forms_stay(other):
    graph = ir.from_proto(other)
    apply_deltas(graph)
    assert [node.op_type for node in graph.graph] == ["DequantizeLinear", "Add", "MatMul"]


@pytest.mark.parametrize("shape", [(40, 30), (8, 4, 3, 3), (2000,)])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_difference_is_rounded_to_half_a_scale(shape, bits):
    difference = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    difference[0] = 0
    delta = make_delta(difference, bits)
    assert delta is not None
    spread = delta.scales
    if delta.axis is not None:
        spread = spread.reshape([-1 if axis == delta.axis else 1 for axis in range(len(shape))])
    error = np.abs(delta.integers * spread - difference)
    assert (error <= 0.5001 * spread).all()
    assert np.abs(delta.integers).max() == (1 << (bits - 1)) - 1
    assert delta.stored_bytes < difference.nbytes


def test_a_small_tensor_is_stored_whole():
    assert make_delta(np.ones((4, 4), np.float32), 8) is None


def test_the_axis_that_loses_less_has_the_scales():
    """Columns of very different size: one scale for each of them, wherever they are."""
    columns = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32) * np.logspace(-3, 0, 64)
    for difference, axis in ((columns.astype(np.float32), 1), (columns.T.astype(np.float32), 0)):
        delta = make_delta(difference, 8)
        assert delta is not None
        assert delta.axis == axis


def test_merging_writes_what_the_frontend_reads():
    """The file that `insert_delta` makes is the form that `apply_deltas` takes."""
    proto = model(scales(6), 8, axis=0)
    del proto.graph.node[:2]
    weight = np.random.default_rng(4).standard_normal((60, 50)).astype(np.float32)
    del proto.graph.initializer[:]
    proto.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 60
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 50
    graph = ir.from_proto(proto)
    base = weight + np.float32(0.01)
    delta = make_delta(weight - base, 8)
    assert delta is not None
    insert_delta(graph.graph, graph.graph.initializers["weight"], base, delta)
    assert [node.op_type for node in graph.graph] == ["DequantizeLinear", "Add", "MatMul"]
    feed = {"x": np.ones((1, 60), np.float32)}
    before = run_onnx(ir.to_proto(graph), feed, optimise=False)["y"]
    np.testing.assert_allclose(before, run_onnx(proto, feed)["y"], atol=1e-2)
    apply_deltas(graph)
    assert [node.op_type for node in graph.graph] == ["MatMul"]
    # Not the same bits: onnxruntime multiplies by constants in another order.
    np.testing.assert_allclose(run_onnx(ir.to_proto(graph), feed)["y"], before, atol=1e-5)
