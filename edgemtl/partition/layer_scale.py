"""A product with one constant per channel, as in the blocks of DINOv2 and ConvNeXt, goes into the layer before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    add_constant,
    array_of,
    constant_operand,
    is_op,
    is_private,
    operand,
    private_producer,
    producer,
    replace_operand,
    replace_value,
    result,
    shape_of,
)
from edgemtl.operators import Array


@dataclass(frozen=True)
class _Layer:
    """A layer whose weight is constant. ``channels``: the axis of its result, and of its weight, that counts channels.

    ``bias``: the node and the operand that add a constant, if there is one.
    """

    node: ir.Node
    weight: str
    channels: tuple[int, int]
    bias: tuple[ir.Node, str] | None


def fold_layer_scales(graph: ir.Graph) -> int:
    """Fold every product of a layer's result with one constant per channel into its weights and bias; how many.

    Transposes may lie between. w' = w * s and b' = b * s, in float64. In place.
    """
    return sum(_fold(graph, node) for node in list(graph) if is_op(node, "Mul"))


def _fold(graph: ir.Graph, product: ir.Node) -> bool:
    operands = constant_operand(product)
    if operands is None or shape_of(operands[1]) != shape_of(result(product)):
        return False
    constant, scaled = operands
    shape = shape_of(scaled)
    value, axes = _behind_transposes(scaled, len(shape))
    layer = _layer_of(value)
    if layer is None:
        return False
    axis = axes.index(layer.channels[0] % len(shape))
    factor = array_of(constant)
    assert factor is not None
    widths = (1,) * (len(shape) - factor.ndim) + factor.shape
    if widths[axis] != shape[axis] or factor.size != shape[axis] or factor.size == 1:
        return False
    _scale(graph, layer, factor.reshape(-1).astype(np.float64))
    replace_value(result(product), scaled)
    graph.remove(product, safe=True)
    return True


def _behind_transposes(value: ir.Value, rank: int) -> tuple[ir.Value, list[int]]:
    """The value behind transposes that nothing else reads, and for every axis of ``value`` its axis there."""
    axes = list(range(rank))
    while (node := private_producer(value, "Transpose")) is not None:
        source = operand(node, "data")
        assert source is not None
        order = node.attributes.get_ints("perm", list(range(rank))[::-1])
        axes, value = [order[axis] for axis in axes], source
    return value, axes


def _layer_of(value: ir.Value) -> _Layer | None:
    """The layer that computes a value which nothing else reads."""
    if not is_private(value):
        return None
    node = producer(value, "Add", "MatMul", "Gemm", "Conv", "ConvTranspose")
    if node is None:
        return None
    if is_op(node, "Add"):
        return _with_bias(node)
    if is_op(node, "MatMul"):
        return _matmul(node, None)
    if is_op(node, "Gemm"):
        return _gemm(node)
    channels = 0 if is_op(node, "Conv") else 1
    if is_op(node, "ConvTranspose") and node.attributes.get_int("group", 1) != 1:
        return None
    return _constant(_Layer(node, "W", (1, channels), _own_bias(node, "B")))


def _with_bias(add: ir.Node) -> _Layer | None:
    operands = constant_operand(add)
    if operands is None:
        return None
    bias, product = operands
    width = shape_of(result(add))[-1]
    node = private_producer(product, "MatMul")
    if node is None or shape_of(bias)[-1:] != (width,) or np.prod(shape_of(bias)) != width:
        return None
    return _matmul(node, (add, "A" if operand(add, "A") is bias else "B"))


def _matmul(node: ir.Node, bias: tuple[ir.Node, str] | None) -> _Layer | None:
    return _constant(_Layer(node, "B", (-1, 1), bias)) if len(shape_of(operand(node, "B"))) == 2 else None


def _gemm(node: ir.Node) -> _Layer | None:
    channels = 0 if node.attributes.get_int("transB", 0) else 1
    bias = operand(node, "C")
    is_row = bias is None or shape_of(bias)[:-1] in ((), (1,))
    return _constant(_Layer(node, "B", (1, channels), _own_bias(node, "C"))) if is_row else None


def _own_bias(node: ir.Node, name: str) -> tuple[ir.Node, str] | None:
    return None if operand(node, name) is None else (node, name)


def _constant(layer: _Layer) -> _Layer | None:
    """The layer, if its weight and its bias are constants."""
    bias = None if layer.bias is None else operand(*layer.bias)
    constant = array_of(operand(layer.node, layer.weight)) is not None and (bias is None or array_of(bias) is not None)
    return layer if constant else None


def _scale(graph: ir.Graph, layer: _Layer, factor: Array) -> None:
    weight = array_of(operand(layer.node, layer.weight))
    assert weight is not None
    shape = [-1 if axis == layer.channels[1] else 1 for axis in range(weight.ndim)]
    _replace(graph, (layer.node, layer.weight), factor.reshape(shape))
    if layer.bias is not None:
        _replace(graph, layer.bias, factor)


def _replace(graph: ir.Graph, at: tuple[ir.Node, str], factor: Array) -> None:
    """Multiply a constant operand."""
    node, name = at
    old = operand(node, name)
    array = array_of(old)
    assert old is not None
    assert array is not None
    replace_operand(node, name, add_constant(graph, f"{old.name}.scaled", (array * factor).astype(array.dtype)))
