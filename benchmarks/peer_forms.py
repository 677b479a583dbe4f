"""The network of a row as MNN and ncnn can run it: other ONNX nodes that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from examples.foreign import Attributes, Weights, Writer, activate, rewrite, save

Nodes = Sequence[onnx.NodeProto]
Constants = Mapping[str, np.ndarray]
NCNN_OPSET = 17
"""pnnx reads the axes of a reduction only where they are an attribute."""
NEWER_ATTRIBUTES = ("keep_aspect_ratio_policy", "antialias")
"""Attributes of Resize that opset 17 does not know, at their defaults in our exports."""


def for_mnn(source: Path, target: Path) -> Path:
    """The dense or the NonZero form, without the three nodes that MNN 3.6.1 computes wrongly.

    Gelu, and its spelling x / sqrt(2), is the tanh form there (off by 4.7e-4). ConstantOfShape without a value is
    memory that nobody wrote. ScatterND with reduction="add" overwrites.
    """
    model = onnx.load(source)
    nodes: list[onnx.NodeProto] = []
    constants = dict[str, np.ndarray]()
    for node in model.graph.node:
        writer = Writer(f"{node.output[0]}/")
        if node.op_type == "Gelu":
            _spell_gelu(writer, node)
        elif node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float32))
            writer.nodes.append(helper.make_node("ConstantOfShape", node.input, node.output, value=zero))
        elif node.op_type == "ScatterND" and node.attribute:
            _add_before_scatter(writer, node)
        else:
            writer.nodes.append(node)
        nodes += writer.nodes
        constants |= writer.constants
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    initializers = [*model.graph.initializer, *tensors]
    return save(nodes, initializers, model.graph.input, model.graph.output, target, opset=20)


def _spell_gelu(writer: Writer, node: onnx.NodeProto) -> None:
    activate(writer, node.input[0], "gelu")
    writer.nodes[-1].output[0] = node.output[0]


def _add_before_scatter(writer: Writer, node: onnx.NodeProto) -> None:
    """The sum of old and new rows, written over the old ones: no row occurs twice."""
    data, rows, updates = node.input
    old = writer.op("Gather", data, writer.op("Squeeze", rows, writer.ints(-1)), axis=0)
    writer.op("ScatterND", data, rows, writer.op("Add", old, updates))
    writer.nodes[-1].output[0] = node.output[0]


def for_ncnn(source: Path, target: Path) -> Path:
    """Our export with dense experts in the layers that ncnn has.

    It has no TopK and no ScatterElements: gates are masked by the k largest, one maximum after the other. It has
    four dimensions: queries, keys and values are split before the heads are.
    """
    model = onnx.load(rewrite(source, target, _masked_experts))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    writer = Writer("ncnn/")
    for node in _split_heads(list(model.graph.node), constants, writer):
        if node.op_type == "Gelu":
            _spell_gelu(writer, node)
            continue
        if node.op_type == "ReduceMax":
            node.CopyFrom(helper.make_node("ReduceMax", node.input[:1], node.output, axes=[-1], keepdims=1))
        for attribute in [a for a in node.attribute if a.name in NEWER_ATTRIBUTES]:
            node.attribute.remove(attribute)
        writer.nodes.append(node)
    initializers = [*model.graph.initializer, *writer.initializers()]
    return save(writer.nodes, initializers, model.graph.input, model.graph.output, target, opset=NCNN_OPSET)


def _masked_experts(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """Every expert over every token, times its column of the masked gate."""
    if a.get("window", (0, None))[1] is not None or a["normalize"] or a["threshold"]:
        raise ValueError("the gate must be a softmax and its k largest; windows, sums and thresholds are not written")
    gate = _largest(w, w.op("Softmax", logits, axis=-1), a["k"])
    products = [_expert(w, x, gate, index, weights, a["activation"]) for index in range(len(weights[0]))]
    total = products[0]
    for product in products[1:]:
        total = w.op("Add", total, product)
    return total


def _expert(w: Writer, x: str, gate: str, index: int, weights: Weights, activation: str) -> str:
    w1, b1, w2, b2 = (part[index] for part in weights)
    hidden = activate(w, w.op("Gemm", x, w.const(w1), w.const(b1)), activation)
    column = w.op("Slice", gate, w.ints(index), w.ints(index + 1), w.ints(1))
    return w.op("Mul", w.op("Gemm", hidden, w.const(w2), w.const(b2)), column)


def _largest(w: Writer, scores: str, k: int) -> str:
    """Scores [T, E] in [0, 1] with all but the k largest of a row set to 0, if no two are equal."""
    remaining, masks = scores, list[str]()
    for _ in range(k):
        below = w.op("Sub", remaining, w.op("ReduceMax", remaining, w.ints(-1), keepdims=1))
        # 1 where the difference is 0; elsewhere at most 1 - 1e30 * 2^-24 of a score, and clipped.
        masks.append(w.op("Clip", w.op("Add", w.op("Mul", below, w.const(1e30)), w.const(1)), w.const(0), w.const(1)))
        remaining = w.op("Sub", remaining, w.op("Mul", masks[-1], w.const(2)))
    mask = masks[0]
    for more in masks[1:]:
        mask = w.op("Add", mask, more)
    return w.op("Mul", scores, mask)


def _split_heads(nodes: Nodes, constants: Constants, writer: Writer) -> Nodes:
    """Instead of [1, T, 3, heads, d], transposed and sliced: slices of [1, T, 3 * heads * d], then their heads."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    replaced: set[str] = set()
    result: list[onnx.NodeProto] = []
    for node in nodes:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and shape.size == 5:
            (transpose,) = readers[node.output[0]]
            replaced.add(transpose.output[0])
            for part in readers[transpose.output[0]]:
                (squeeze,) = readers[part.output[0]]
                replaced |= {part.output[0], squeeze.output[0]}
                index = int(constants[part.input[1]][0])
                result += _heads(writer, node.input[0], [int(size) for size in shape], index, squeeze.output[0])
        elif node.output[0] not in replaced:
            result.append(node)
    return result


def _heads(writer: Writer, projected: str, shape: Sequence[int], index: int, name: str) -> Nodes:
    batch, tokens, _, heads, width = shape
    first, last = index * heads * width, (index + 1) * heads * width
    slices = [writer.ints(first), writer.ints(last), writer.ints(2)]
    return (
        helper.make_node("Slice", [projected, *slices], [f"{name}/slice"]),
        helper.make_node("Reshape", [f"{name}/slice", writer.ints(batch, tokens, heads, width)], [f"{name}/heads"]),
        helper.make_node("Transpose", [f"{name}/heads"], [name], perm=[0, 2, 1, 3]),
    )


FORMS: Mapping[str, Callable[[Path, Path], Path]] = {"mnn": for_mnn, "ncnn": for_ncnn}
