"""Folding of constants: what it computes, and what it leaves alone."""

import numpy as np
import onnx_ir as ir

from edgemtl.partition.cut import sweep
from edgemtl.partition.fold import MAX_GROWTH, fold_constants
from tests.partition.handmade import Builder, images, run


def _fold(b, result):
    model = b.graph({b.node("Add", b.node("ReduceMax", "image", keepdims=0), result): None})
    (image,) = images(1)
    before = run(model, image)
    count = fold_constants(model)
    sweep(model)
    np.testing.assert_allclose(run(model, image)[0], before[0], rtol=1e-5, atol=1e-6)
    return count, [node.op_type for node in model.graph]


def test_a_task_embedding_becomes_a_constant():
    b = Builder()
    row = b.node("OneHot", b.const(np.array([1])), b.const(np.array(4)), b.const(np.float32([0, 1])))
    hidden = b.node("Gelu", b.node("Gemm", row, b.weight(4, 5), b.weight(5)))
    result = b.node("LayerNormalization", hidden, b.weight(5), b.weight(5))
    assert _fold(b, result) == (4, ["ReduceMax", "Add"])


def test_several_outputs_and_inputs_left_out():
    b = Builder()
    low, high = b.node("Split", b.weight(6), outputs=2, num_outputs=2)
    result = b.node("Add", b.node("Clip", low, "", b.const(np.float32(0.5))), high)
    assert _fold(b, result) == (3, ["ReduceMax", "Add"])


def test_large_results_stay_nodes():
    b = Builder()
    result = b.node("Expand", b.weight(1), b.const(np.array([MAX_GROWTH + 3])))
    count, ops = _fold(b, result)
    assert (count, sorted(ops)) == (0, ["Add", "Expand", "ReduceMax"])
    b = Builder()
    assert _fold(b, b.node("Expand", b.weight(1), b.const(np.array([MAX_GROWTH + 2]))))[0] == 1


def test_transposed_weights_are_constants_however_large():
    b = Builder()
    large = b.const(np.ones((2, MAX_GROWTH), np.float32))
    assert _fold(b, b.node("Transpose", large))[0] == 1


def test_random_numbers_are_not_frozen():
    b = Builder()
    draw = b.node("RandomNormalLike", b.weight(3), seed=1.0)
    model = b.graph({b.node("Add", b.node("ReduceMax", "image", keepdims=0), draw): None})
    assert fold_constants(model) == 0


def test_an_output_that_is_constant_stays_a_node():
    b = Builder()
    b.node("Relu", b.weight(3), out="fixed")
    model = b.graph({"fixed": None, b.node("Relu", "image"): None})
    assert fold_constants(model) == 0


def test_nodes_with_graphs_inside_stay():
    b = Builder()
    model = b.graph({b.node("Relu", "image"): None})
    constant = ir.tensor(np.array(True))
    condition = ir.Value(name="condition", shape=ir.Shape([]), type=ir.TensorType(constant.dtype), const_value=constant)
    model.graph.register_initializer(condition)
    inner = [ir.Value(name=f"inner{i}", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT)) for i in (0, 1)]
    graphs = [
        ir.Graph(
            [],
            [v],
            nodes=[ir.Node("", "Constant", [], [ir.AttrFloat32s("value_floats", [1.0])], outputs=[v])],
        )
        for v in inner
    ]
    attributes = [ir.AttrGraph("then_branch", graphs[0]), ir.AttrGraph("else_branch", graphs[1])]
    out = ir.Value(name="chosen", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    model.graph.append(ir.Node("", "If", [condition], attributes, outputs=[out], name="If_0"))
    assert fold_constants(model) == 0
