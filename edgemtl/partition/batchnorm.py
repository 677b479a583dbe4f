"""BatchNorm at inference is a scale and a shift per channel: both go into the layer before it, or stay as two steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    add_constant,
    array_of,
    is_op,
    is_private,
    operand,
    producer,
    replace_operand,
    result,
    shape_of,
)
from edgemtl.operators import Array

STATISTICS = ("scale", "B", "input_mean", "input_var")
"""The operands of a BatchNormalization beside the value that it normalises."""

WEIGHTS: Mapping[str, tuple[str, str]] = {"Conv": ("W", "B"), "ConvTranspose": ("W", "B"), "Gemm": ("B", "C")}
"""By the operator of a layer: the operands that are its weight and its bias."""


def fold_batchnorms(graph: ir.Graph) -> int:
    """Fold every BatchNormalization that follows a layer of its own; how many. In place.

    w' = w * s and b' = (b - mean) * s + bias with s = scale / sqrt(var + epsilon), computed in float64. The others
    become x * s + (bias - mean * s), a Mul and an Add.
    """
    norms = [node for node in graph if _is_constant(node)]
    folded = [_fold(graph, norm) for norm in norms]
    return sum(folded)


def _is_constant(norm: ir.Node) -> bool:
    """Whether the node scales and shifts by constants."""
    training = norm.attributes.get_int("training_mode", None) == 1
    if not is_op(norm, "BatchNormalization") or training or len(norm.outputs) > 1:
        return False
    return all(array_of(operand(norm, name)) is not None for name in STATISTICS)


def _fold(graph: ir.Graph, norm: ir.Node) -> bool:
    """Whether the layer before the norm took it in; else the norm is written as two nodes."""
    layer = producer(operand(norm, "X"), *WEIGHTS)
    if layer is None or not _takes_norms(layer):
        _spell(graph, norm)
        return False
    weight_name, bias_name = WEIGHTS[layer.op_type]
    old = operand(layer, weight_name)
    assert old is not None
    weight, bias = _folded(layer, norm)
    name = str(old.name)
    replace_operand(layer, weight_name, add_constant(graph, f"{name}.normalized", weight))
    replace_operand(layer, bias_name, add_constant(graph, f"{name}.shift", bias))
    _replace(graph, norm, result(layer))
    return True


def _takes_norms(layer: ir.Node) -> bool:
    """Whether only the norm reads the layer, and its weights can be scaled by output channel."""
    weight, bias = (operand(layer, name) for name in WEIGHTS[layer.op_type])
    if not is_private(result(layer)) or array_of(weight) is None or (bias is not None and array_of(bias) is None):
        return False
    if is_op(layer, "Gemm"):
        # Exporters write factors of 1 and a row of biases; anything else would have to go into the weights first.
        is_plain = layer.attributes.get_float("alpha", 1.0) == layer.attributes.get_float("beta", 1.0) == 1.0
        return is_plain and (bias is None or shape_of(bias)[:-1] in ((), (1,)))
    return is_op(layer, "Conv") or layer.attributes.get_int("group", 1) == 1


def _folded(layer: ir.Node, norm: ir.Node) -> tuple[Array, Array]:
    weight, old_bias = (array_of(operand(layer, name)) for name in WEIGHTS[layer.op_type])
    factor, shift, mean = _scaling(norm)
    assert weight is not None
    rows = factor.reshape([-1 if axis == _channels(layer) else 1 for axis in range(weight.ndim)])
    bias = (_double(old_bias) - mean) * factor + shift
    return (weight * rows).astype(weight.dtype), bias.reshape(-1).astype(weight.dtype)


def _channels(layer: ir.Node) -> int:
    """The axis of the weight that counts the outputs of the layer."""
    if is_op(layer, "Gemm"):
        return 0 if layer.attributes.get_int("transB", 0) else 1
    return 1 if is_op(layer, "ConvTranspose") else 0


def _scaling(norm: ir.Node) -> tuple[Array, Array, Array]:
    """The factor of a norm, its bias and its mean, float64 [C]."""
    scale, shift, mean, var = (_double(array_of(operand(norm, name))) for name in STATISTICS)
    return scale / np.sqrt(var + norm.attributes.get_float("epsilon", 1e-5)), shift, mean


def _double(array: Array | None) -> Array:
    return np.zeros(1) if array is None else array.astype(np.float64)


def _spell(graph: ir.Graph, norm: ir.Node) -> None:
    """The norm as a product with constants and a sum."""
    x, y = operand(norm, "X"), result(norm)
    factor, shift, mean = _scaling(norm)
    scaled = ir.node("Mul", [x, _per_channel(graph, y, "factor", factor)], name=f"{norm.name}/scale")
    shifted = ir.node("Add", [result(scaled), _per_channel(graph, y, "shift", shift - mean * factor)], name=norm.name)
    for node in (scaled, shifted):
        result(node).shape, result(node).type = y.shape, y.type
        result(node).name = f"{y.name}/{node.op_type}"
        node.metadata_props.update(norm.metadata_props)
    graph.insert_before(norm, [scaled, shifted])
    _replace(graph, norm, result(shifted))


def _per_channel(graph: ir.Graph, y: ir.Value, name: str, array: Array) -> ir.Value:
    """A constant that is added to, or multiplied with, the channels of ``y``."""
    sizes = (-1, *(1,) * (len(shape_of(y)) - 2))
    return add_constant(graph, f"{y.name}.{name}", array.reshape(sizes).astype(np.float32))


def _replace(graph: ir.Graph, norm: ir.Node, new: ir.Value) -> None:
    """What reads the norm reads ``new``, which takes its name, since the graph may return it."""
    old = result(norm)
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    new.name = name
