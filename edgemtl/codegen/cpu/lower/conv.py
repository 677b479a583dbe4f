"""3x3 convolutions with what can be fused around them: bilinear x2 in front, ReLU and a last 1x1 convolution
behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgemtl.codegen.cpu.graph import (
    array_of,
    attribute,
    input_at,
    is_op,
    is_private,
    named_constant,
    private_producer,
)
from edgemtl.codegen.cpu.ir import Constant
from edgemtl.codegen.cpu.lower.linear import Linear, match_core
from edgemtl.codegen.cpu.lower.resize import Bilinear, bilinear
from edgemtl.codegen.cpu.match import Group, Refusal


@dataclass(frozen=True)
class Conv3x3:
    """A 3x3 convolution of stride 1 and padding 1, and what is fused around it."""

    node: ir.Node
    source: ir.Value
    weight: Constant
    bias: Constant
    relu: bool
    upsample: bool
    pointwise: Linear | None
    nodes: tuple[ir.Node, ...]


def match_conv3x3(node: ir.Node) -> Group | Refusal | None:
    """Conv 3x3 (stride 1, padding 1), with the bilinear x2 that feeds it alone, its ReLU and the 1x1 Conv
    behind that.
    """
    found = _with_pointwise(node) or _with_relu(node.outputs[0])
    if found is None:
        return None
    return Group("conv3x3", found.nodes, lambda em: _emit(em, node.outputs[0], found))


def _with_pointwise(node: ir.Node) -> Conv3x3 | None:
    linear = match_core(node.outputs[0]) if is_op(node, "Conv") else None
    if linear is None or not is_private(linear.source):
        return None
    inner = _with_relu(linear.source)
    if inner is None:
        return None
    return replace(inner, pointwise=linear, nodes=(*linear.nodes, *inner.nodes))


def _with_relu(value: ir.Value) -> Conv3x3 | None:
    relu = value.producer()
    if relu is None or not is_op(relu, "Relu") or relu.inputs[0] is None:
        return _with_upsample(value)
    inner = _with_upsample(relu.inputs[0]) if is_private(relu.inputs[0]) else None
    return replace(inner, relu=True, nodes=(relu, *inner.nodes)) if inner is not None else None


def _with_upsample(value: ir.Value) -> Conv3x3 | None:
    conv = _conv3x3(value.producer())
    resize = bilinear(private_producer(conv.source, "Resize")) if conv is not None else None
    if conv is None or not isinstance(resize, Bilinear) or resize.ratio != (2.0, 2.0):
        return conv
    return replace(conv, source=resize.source, upsample=True, nodes=(*conv.nodes, resize.node))


def _conv3x3(node: ir.Node | None) -> Conv3x3 | None:
    if node is None or not is_op(node, "Conv") or node.inputs[0] is None or node.inputs[1] is None:
        return None
    weight, bias = array_of(node.inputs[1]), input_at(node, 2)
    if weight is None or weight.shape[2:] != (3, 3) or attribute(node, "group", 1) != 1:
        return None
    ones = (attribute(node, name, default) for name, default in _ALL_ONE.items())
    if any(set(values) != {1} for values in ones) or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    held = array_of(bias)
    shift = np.zeros(weight.shape[0], np.float32) if held is None else held
    named = named_constant(
        f"zeros_{len(shift)}" if bias is None or held is None else bias.name or "bias", shift
    )
    kernel = named_constant(node.inputs[1].name or "weight", weight)
    return Conv3x3(node, node.inputs[0], kernel, named, False, False, None, (node,))


_ALL_ONE = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
