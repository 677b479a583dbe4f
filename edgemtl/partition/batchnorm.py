"""BatchNorm at inference is a scale and a shift per channel: both go into the convolution before it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.graph import add_constant, array_of, input_at, is_op, is_private
from edgemtl.operators import Array


def fold_batchnorms(graph: ir.Graph) -> int:
    """Fold every BatchNormalization that follows a convolution of its own; how many. In place.

    w' = w * s and b' = (b - mean) * s + bias with s = scale / sqrt(var + epsilon), computed in float64.
    """
    return sum(_fold(graph, node) for node in tuple(graph) if _is_foldable(node))


def _is_foldable(norm: ir.Node) -> bool:
    training = norm.attributes.get_int("training_mode", None) == 1
    if not is_op(norm, "BatchNormalization") or training or len(norm.outputs) > 1:
        return False
    conv = norm.inputs[0].producer() if norm.inputs[0] is not None else None
    if conv is None or not is_op(conv, "Conv") or not is_private(conv.outputs[0]):
        return False
    # Where the convolution has no bias its place is free.
    constants = [*norm.inputs[1:5], *(value for value in conv.inputs[1:] if value is not None)]
    return all(array_of(value) is not None for value in constants)


def _fold(graph: ir.Graph, norm: ir.Node) -> bool:
    assert norm.inputs[0] is not None
    conv = norm.inputs[0].producer()
    assert conv is not None
    weight, bias = _folded(conv, norm)
    name = str(conv.inputs[1].name) if conv.inputs[1] is not None else str(conv.name)
    conv.replace_input_with(1, add_constant(graph, f"{name}.normalized", weight))
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, add_constant(graph, f"{name}.shift", bias))
    _take_over(graph, norm, conv)
    return True


def _folded(conv: ir.Node, norm: ir.Node) -> tuple[Array, Array]:
    weight, old_bias = array_of(conv.inputs[1]), array_of(input_at(conv, 2))
    scale, shift, mean, var = (_double(array_of(value)) for value in norm.inputs[1:5])
    factor = scale / np.sqrt(var + norm.attributes.get_float("epsilon", 1e-5))
    assert weight is not None
    rows = factor.reshape(-1, *[1] * (weight.ndim - 1))
    bias = (_double(old_bias) - mean) * factor + shift
    return (weight * rows).astype(weight.dtype), bias.astype(weight.dtype)


def _double(array: Array | None) -> Array:
    return np.zeros(1) if array is None else array.astype(np.float64)


def _take_over(graph: ir.Graph, norm: ir.Node, conv: ir.Node) -> None:
    """The convolution's output becomes the norm's, under the norm's name where the graph returns it."""
    old, new = norm.outputs[0], conv.outputs[0]
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    new.name = name
