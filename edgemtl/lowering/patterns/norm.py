"""LayerNorm over the last axis: the operator, or the operators exporters write instead of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    array_of,
    attribute,
    constant_operand,
    ints_of,
    is_op,
    operand,
    private_producer,
    producer,
    result,
    scalar_of,
    shape_of,
)
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant
from edgemtl.lowering.match import Group
from edgemtl.operators import Array, LayerNorm


@dataclass(frozen=True)
class _Norm:
    """What is normalised, the epsilon, the scale and shift (None: one and zero), and the nodes."""

    source: ir.Value
    epsilon: float
    scale: ir.Value | None
    shift: ir.Value | None
    nodes: tuple[ir.Node, ...]


def match_layer_norm(node: ir.Node) -> Group | None:
    """LayerNormalization over the last axis with constant scale and shift, or the same written out:
    (x - mean) / sqrt(variance + epsilon) * scale + shift.
    """
    norm = _operator(node) if is_op(node, "LayerNormalization") else _written_out(node)
    if norm is None or not _spans_last_axis(norm):
        return None
    return Group("layer_norm", norm.nodes, lambda em: _emit(em, node, norm))


def _spans_last_axis(norm: _Norm) -> bool:
    width = shape_of(norm.source)[-1]
    arrays = (array_of(v) for v in (norm.scale, norm.shift) if v is not None)
    return all(array is not None and array.size == width for array in arrays)


def _operator(node: ir.Node) -> _Norm | None:
    x, axis = operand(node, "X"), attribute(node, "axis", -1)
    if x is None or axis not in (-1, len(shape_of(x)) - 1) or len(node.outputs) > 1:
        return None
    return _Norm(x, attribute(node, "epsilon", 1e-5), operand(node, "Scale"), operand(node, "B"), (node,))


def _written_out(last: ir.Node) -> _Norm | None:
    node: ir.Node | None = last
    shift = scale = None
    nodes: list[ir.Node] = []
    for op in ("Add", "Mul"):
        operands = constant_operand(node) if node is not None and is_op(node, op) else None
        if node is None or operands is None:
            continue
        constant, other = operands
        nodes.append(node)
        scale, shift = (constant, shift) if op == "Mul" else (scale, constant)
        node = private_producer(other)
    core = _core(node)
    return _Norm(core.source, core.epsilon, scale, shift, (*nodes, *core.nodes)) if core is not None else None


def _core(divide: ir.Node | None) -> _Norm | None:
    """Div(Sub(x, mean), Sqrt(Add(mean of squares, epsilon)))."""
    root = private_producer(operand(divide, "B"), "Sqrt") if divide is not None and is_op(divide, "Div") else None
    add = private_producer(operand(root, "X"), "Add") if root is not None else None
    operands = constant_operand(add) if add is not None else None
    if divide is None or root is None or add is None or operands is None:
        return None
    epsilon, variance = scalar_of(operands[0]), _mean_node(operands[1])
    square = private_producer(operand(variance, "data"), "Pow", "Mul") if variance is not None else None
    centre = producer(operand(divide, "A"), "Sub")
    if epsilon is None or variance is None or square is None or centre is None or not _is_square(square, centre):
        return None
    source, mean = operand(centre, "A"), _mean_node(operand(centre, "B"))
    if mean is None or source is None or operand(mean, "data") is not source:
        return None
    return _Norm(source, epsilon, None, None, (divide, root, add, variance, square, centre, mean))


def _mean_node(value: ir.Value | None) -> ir.Node | None:
    """A ReduceMean over the last axis alone, kept as an axis of one, that nothing else reads."""
    node = private_producer(value, "ReduceMean")
    if node is None or attribute(node, "keepdims", 1) != 1:
        return None
    axes = ints_of(operand(node, "axes")) or attribute(node, "axes", ())
    return node if axes in ((-1,), (len(shape_of(operand(node, "data"))) - 1,)) else None


def _is_square(node: ir.Node, centre: ir.Node) -> bool:
    """Whether ``node`` squares the centred values, and the centred values feed the norm alone."""
    value = result(centre)
    base, other = node.inputs
    if base is not value or value.is_graph_output():
        return False
    squared = scalar_of(other) == 2.0 if node.op_type == "Pow" else other is value
    return squared and {use.node.op_type for use in value.uses()} == {node.op_type, "Div"}


def _vector(value: ir.Value | None, name: str, width: int, fill: float) -> tuple[str, Array]:
    array = array_of(value)
    if value is None or array is None:
        return name, np.full(width, fill, np.float32)
    return value.name or name, array.reshape(width).astype(np.float32)


def _emit(em: Emitter, last: ir.Node, norm: _Norm) -> None:
    rows = em.rows(norm.source)
    width = rows.shape[1]
    scale = Constant(*_vector(norm.scale, f"ones_{width}", width, 1.0))
    shift = Constant(*_vector(norm.shift, f"zeros_{width}", width, 0.0))
    out = em.new(rows.shape)
    em.step(LayerNorm(rows.shape[0], width, norm.epsilon), {"x": rows, "y": out}, {"scale": scale, "shift": shift})
    em.define_rows(result(last), out)
