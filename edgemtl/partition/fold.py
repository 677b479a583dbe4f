"""Compute at compile time what depends on constants alone, such as what a task's number turns into."""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from edgemtl.partition.graphs import Array, add_constant, array_of, shape_of

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

    Computed by onnx's reference code, which has every operator; what is too large stays a node.
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
    for value, array in zip(node.outputs, _evaluate(model, node, inputs), strict=True):
        constant = add_constant(model.graph, f"{value.name}.folded", array)
        ir.convenience.replace_all_uses_with(value, constant)
    model.graph.remove(node, safe=True)
    return True


def _is_bearable(node: ir.Node, inputs: dict[str, Array]) -> bool:
    subgraphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(held.type in subgraphs for held in node.attributes.values()):
        return False
    if any(value.shape is None or not value.shape.is_static() for value in node.outputs):
        return False
    made = sum(math.prod(shape_of(value)) for value in node.outputs)
    return made <= MAX_GROWTH + sum(array.size for array in inputs.values())


def _evaluate(model: ir.Model, node: ir.Node, inputs: dict[str, Array]) -> list[Array]:
    helper = onnx.helper
    fed = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    made = [helper.make_tensor_value_info(str(value.name), int(value.dtype or 0), None) for value in node.outputs]
    graph = helper.make_graph([ir.to_proto(node)], "constant", fed, made)
    opsets = [helper.make_opsetid("", model.opset_imports[""])]
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets))
    return [*evaluator.run(None, inputs)]
