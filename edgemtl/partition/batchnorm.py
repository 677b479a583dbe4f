"""BatchNorm at inference is a scale and a shift per channel: both go into the convolution before it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.graph import add_constant, array_of, is_op, is_private, operand, producer, replace_operand, result
from edgemtl.operators import Array

STATISTICS = ("scale", "B", "input_mean", "input_var")
"""The operands of a BatchNormalization beside the value that it normalises."""


def fold_batchnorms(graph: ir.Graph) -> int:
    """Fold every BatchNormalization that follows a convolution of its own; how many. In place.

    w' = w * s and b' = (b - mean) * s + bias with s = scale / sqrt(var + epsilon), computed in float64.
    """
    return sum(_fold(graph, node) for node in tuple(graph) if _is_foldable(node))


def _is_foldable(norm: ir.Node) -> bool:
    training = norm.attributes.get_int("training_mode", None) == 1
    if not is_op(norm, "BatchNormalization") or training or len(norm.outputs) > 1:
        return False
    conv = producer(operand(norm, "X"), "Conv")
    if conv is None or not is_private(result(conv)):
        return False
    constants = [*(operand(norm, name) for name in STATISTICS), operand(conv, "W")]
    bias = operand(conv, "B")
    return all(array_of(value) is not None for value in constants) and (bias is None or array_of(bias) is not None)


def _fold(graph: ir.Graph, norm: ir.Node) -> bool:
    conv = producer(operand(norm, "X"))
    assert conv is not None
    old = operand(conv, "W")
    assert old is not None
    weight, bias = _folded(conv, norm)
    name = str(old.name)
    replace_operand(conv, "W", add_constant(graph, f"{name}.normalized", weight))
    replace_operand(conv, "B", add_constant(graph, f"{name}.shift", bias))
    _take_over(graph, norm, conv)
    return True


def _folded(conv: ir.Node, norm: ir.Node) -> tuple[Array, Array]:
    weight, old_bias = array_of(operand(conv, "W")), array_of(operand(conv, "B"))
    scale, shift, mean, var = (_double(array_of(operand(norm, name))) for name in STATISTICS)
    factor = scale / np.sqrt(var + norm.attributes.get_float("epsilon", 1e-5))
    assert weight is not None
    rows = factor.reshape(-1, *[1] * (weight.ndim - 1))
    bias = (_double(old_bias) - mean) * factor + shift
    return (weight * rows).astype(weight.dtype), bias.astype(weight.dtype)


def _double(array: Array | None) -> Array:
    return np.zeros(1) if array is None else array.astype(np.float64)


def _take_over(graph: ir.Graph, norm: ir.Node, conv: ir.Node) -> None:
    """The convolution's output becomes the norm's, under the norm's name where the graph returns it."""
    old, new = result(norm), result(conv)
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    new.name = name
