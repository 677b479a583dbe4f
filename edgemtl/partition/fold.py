"""Compute at compile time what depends on constants alone, such as what a task's number turns into."""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir

from edgemtl.graph import add_constant, array_of, shape_of
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array

MAX_GROWTH = 1 << 18
"""Elements a result may have beyond what it is made of: folding must not blow a bundle up."""
RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


def fold_constants(model: ir.Model) -> int:
    """Replace nodes that read constants only by their results; how many. In place.

    Computed by onnxruntime; what it cannot run, or is too large, stays a node.
    """
    foldable = [node for node in model.graph if node.domain == "" and node.op_type not in RANDOM]
    return sum(_fold(model, node) for node in foldable)


def _fold(model: ir.Model, node: ir.Node) -> bool:
    arrays = {str(value.name): array_of(value) for value in node.inputs if value is not None}
    inputs = {name: array for name, array in arrays.items() if array is not None}
    if (
        len(inputs) < len(arrays)
        or not _is_bearable(node, inputs)
        or any(value.is_graph_output() for value in node.outputs)
    ):
        return False
    results = _evaluate(model, node)
    if results is None:
        return False
    for value, array in zip(node.outputs, results, strict=True):
        constant = add_constant(model.graph, f"{value.name}.folded", array)
        ir.convenience.replace_all_uses_with(value, constant)
    model.graph.remove(node, safe=True)
    return True


def _is_bearable(node: ir.Node, inputs: dict[str, Array]) -> bool:
    subgraphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(given.type in subgraphs for given in node.attributes.values()):
        return False
    if any(value.shape is None or not value.shape.is_static() for value in node.outputs):
        return False
    size = sum(math.prod(shape_of(value)) for value in node.outputs)
    return size <= MAX_GROWTH + sum(array.size for array in inputs.values())


def _evaluate(model: ir.Model, node: ir.Node) -> list[Array] | None:
    """The node's outputs, None where onnxruntime has no such node."""
    helper = onnx.helper
    tensors = {str(v.name): v.const_value for v in node.inputs if v is not None and v.const_value is not None}
    results = [helper.make_tensor_value_info(str(v.name), int(v.dtype or 0), None) for v in node.outputs]
    constants = [ir.to_proto(tensor) for tensor in tensors.values()]
    for constant, name in zip(constants, tensors, strict=True):
        constant.name = name
    graph = helper.make_graph([ir.to_proto(node)], "constant", [], results, constants)
    opsets = [helper.make_opsetid("", model.opset_imports[""])]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        return [*open_session(proto.SerializeToString()).run(None, {})]
    # onnxruntime's errors share no base class.
    except Exception:
        return None
