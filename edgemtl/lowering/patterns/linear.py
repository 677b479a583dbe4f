"""Linear layers with what can be fused behind them: bias, activation, residual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    addends,
    array_of,
    attribute,
    constant_operand,
    is_private,
    main_input,
    operand,
    private_producer,
    producer,
    result,
    shape_of,
)
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant, View, dense
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.activation import strip_activation
from edgemtl.lowering.views import is_view, look
from edgemtl.operators import Array, Linear


@dataclass(frozen=True)
class LinearLayer:
    """x [M, K] @ weight [K, N] + bias [N], then an activation; ``pixels``: the rows are those of a [1, K, H,
    W] image.
    """

    source: ir.Value
    weight: Constant
    bias: Constant
    nodes: tuple[ir.Node, ...]
    activation: str = ""
    pixels: bool = False


def match_linear(node: ir.Node) -> Group | None:
    """MatMul, Gemm or a 1x1 Conv of stride 1 with constant weights, then optionally a bias, an activation, and the sum
    with a value of the same shape.
    """
    return _match_residual(node) or _match_plain(node)


def _match_plain(node: ir.Node) -> Group | None:
    linear = match_activated(result(node))
    if linear is None:
        return None
    return Group("linear", linear.nodes, partial(_emit, value=result(node), linear=linear, residual=None))


def _match_residual(node: ir.Node) -> Group | None:
    for value, residual in addends(node):
        behind, between = behind_views(value)
        linear = match_activated(behind) if behind is not None else None
        if linear is not None and not (linear.pixels and between):
            nodes = (node, *between, *linear.nodes)
            return Group("linear", nodes, partial(_emit, value=result(node), linear=linear, residual=residual))
    return None


def behind_views(value: ir.Value) -> tuple[ir.Value | None, tuple[ir.Node, ...]]:
    """The value behind views that nothing else reads and that keep the order of elements, and those views.

    None where something else reads that value too, or the views move elements.
    """
    nodes: list[ir.Node] = []
    while is_private(value) and (node := value.producer()) is not None and is_view(node):
        source = main_input(node)
        if source is None or len(node.outputs) != 1:
            break
        nodes.append(node)
        value = source
    if not is_private(value) or not keeps_order(value, nodes):
        return None, ()
    return value, tuple(nodes)


def keeps_order(value: ir.Value, views: Sequence[ir.Node]) -> bool:
    """Whether the views, last one first, show all elements of a dense value in their own order."""
    seen: View | None = dense("", shape_of(value))
    for node in reversed(views):
        seen = look(node, seen)[0] if seen is not None else None
    return seen is not None and seen.is_dense and seen.size == math.prod(shape_of(value))


def match_activated(value: ir.Value) -> LinearLayer | None:
    """The linear layer and its activation that compute a value."""
    activation = strip_activation(value)
    core = match_core(activation.source)
    if core is None:
        return None
    return LinearLayer(
        core.source, core.weight, core.bias, (*activation.nodes, *core.nodes), activation.name, core.pixels
    )


def match_core(value: ir.Value) -> LinearLayer | None:
    """The linear layer with its bias that computes a value."""
    node = producer(value, "Add", "MatMul", "Gemm", "Conv")
    if node is None:
        return None
    if node.op_type == "Add":
        return _with_bias(node)
    return _CORES[node.op_type](node, None, ())


def _with_bias(add: ir.Node) -> LinearLayer | None:
    operands = constant_operand(add)
    if operands is None:
        return None
    bias, product = operands
    node = private_producer(product, "MatMul")
    if node is None:
        return None
    shape, width = shape_of(bias), shape_of(result(add))[-1]
    if np.prod(shape) != width or shape[-1] != width:
        return None
    return _matmul(node, bias, (add,))


def _matmul(node: ir.Node, bias: ir.Value | None, outer: tuple[ir.Node, ...]) -> LinearLayer | None:
    x, weight = operand(node, "A"), operand(node, "B")
    array = array_of(weight)
    if x is None or weight is None or array is None or array.ndim != 2 or array_of(x) is not None:
        return None
    return _linear(x, weight, array, bias, (*outer, node))


def _gemm(node: ir.Node, bias: ir.Value | None, outer: tuple[ir.Node, ...]) -> LinearLayer | None:
    x, weight = operand(node, "A"), operand(node, "B")
    array, added = array_of(weight), operand(node, "C")
    plain = attribute(node, "transA", 0) == 0 and attribute(node, "beta", 1.0) == 1.0
    if x is None or weight is None or array is None or not plain or (added is not None and array_of(added) is None):
        return None
    array = (array.T if attribute(node, "transB", 0) else array) * np.float32(attribute(node, "alpha", 1.0))
    return _linear(x, weight, array, added, (*outer, node))


def _conv(node: ir.Node, bias: ir.Value | None, outer: tuple[ir.Node, ...]) -> LinearLayer | None:
    """A 1x1 convolution of stride 1 over one image: a linear layer over the pixels."""
    x, weight, added = operand(node, "X"), operand(node, "W"), operand(node, "B")
    array = array_of(weight)
    if x is None or weight is None or array is None or array.shape[2:] != (1, 1) or len(array.shape) != 4:
        return None
    stays = set(attribute(node, "strides", (1, 1))) == {1} and not any(attribute(node, "pads", (0, 0, 0, 0)))
    is_known = added is None or array_of(added) is not None
    if not stays or not is_known or attribute(node, "group", 1) != 1 or shape_of(x)[0] != 1:
        return None
    return _linear(x, weight, array[:, :, 0, 0].T, added, (*outer, node), pixels=True)


_CORES = {"MatMul": _matmul, "Gemm": _gemm, "Conv": _conv}


def _linear(
    x: ir.Value,
    weight: ir.Value,
    array: Array,
    bias: ir.Value | None,
    nodes: tuple[ir.Node, ...],
    pixels: bool = False,
) -> LinearLayer:
    width, shift = array.shape[1], array_of(bias)
    named = Constant(weight.name or "weight", array)
    if shift is None or bias is None:
        added = Constant(f"zeros_{width}", np.zeros(width, np.float32))
    else:
        added = Constant(bias.name or "bias", np.broadcast_to(shift.reshape(-1), width))
    return LinearLayer(x, named, added, nodes, pixels=pixels)


def _emit(em: Emitter, value: ir.Value, linear: LinearLayer, residual: ir.Value | None) -> None:
    look = em.pixels if linear.pixels else em.rows
    rows = look(linear.source)
    added = look(residual) if residual is not None else None
    out = emit_linear(em, rows, linear.weight, linear.bias, linear.activation, added)
    (em.define_pixels if linear.pixels else em.define_rows)(value, out)


def emit_linear(
    em: Emitter, rows: View, weight: Constant, bias: Constant, activation: str = "", residual: View | None = None
) -> View:
    """Append a linear layer over rows [M, K]; its result [M, N]."""
    depth, width = weight.array.shape
    out = em.new((rows.shape[0], width))
    views = {"x": rows, "y": out} | ({} if residual is None else {"residual": residual})
    linear = Linear(rows.shape[0], depth, width, activation, residual is not None)
    em.step(linear, views, {"weight": weight, "bias": bias})
    return out
