"""LayerNorm over the last axis: the operator, or the operators exporters write instead of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    array_of,
    attribute,
    constant_operand,
    input_at,
    ints_of,
    is_op,
    private_producer,
    producer,
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
    held = (array_of(v) for v in (norm.scale, norm.shift) if v is not None)
    return all(array is not None and array.size == width for array in held)


def _operator(node: ir.Node) -> _Norm | None:
    x, axis = node.inputs[0], attribute(node, "axis", -1)
    if x is None or axis not in (-1, len(shape_of(x)) - 1) or len(node.outputs) > 1:
        return None
    return _Norm(x, attribute(node, "epsilon", 1e-5), node.inputs[1], input_at(node, 2), (node,))


def _written_out(last: ir.Node) -> _Norm | None:
    node: ir.Node | None = last
    shift = scale = None
    nodes: list[ir.Node] = []
    for op in ("Add", "Mul"):
        held = constant_operand(node) if node is not None and is_op(node, op) else None
        if node is None or held is None:
            continue
        nodes.append(node)
        scale, shift = (held[0], shift) if op == "Mul" else (scale, held[0])
        node = private_producer(held[1])
    core = _core(node)
    return _Norm(core.source, core.epsilon, scale, shift, (*nodes, *core.nodes)) if core is not None else None


def _core(divide: ir.Node | None) -> _Norm | None:
    """Div(Sub(x, mean), Sqrt(Add(mean of squares, epsilon)))."""
    root = private_producer(input_at(divide, 1), "Sqrt") if divide is not None and is_op(divide, "Div") else None
    add = private_producer(root.inputs[0], "Add") if root is not None else None
    held = constant_operand(add) if add is not None else None
    if divide is None or root is None or add is None or held is None:
        return None
    epsilon, variance = scalar_of(held[0]), _mean_node(held[1])
    square = private_producer(variance.inputs[0], "Pow", "Mul") if variance is not None else None
    centre = producer(divide.inputs[0], "Sub")
    if epsilon is None or variance is None or square is None or centre is None or not _is_square(square, centre):
        return None
    mean = _mean_node(centre.inputs[1])
    source = centre.inputs[0]
    if mean is None or source is None or mean.inputs[0] is not source:
        return None
    return _Norm(source, epsilon, None, None, (divide, root, add, variance, square, centre, mean))


def _mean_node(value: ir.Value | None) -> ir.Node | None:
    """A ReduceMean over the last axis alone, kept as an axis of one, that nothing else reads."""
    node = private_producer(value, "ReduceMean")
    if node is None or node.inputs[0] is None or attribute(node, "keepdims", 1) != 1:
        return None
    axes = ints_of(input_at(node, 1)) or attribute(node, "axes", ())
    return node if axes in ((-1,), (len(shape_of(node.inputs[0])) - 1,)) else None


def _is_square(node: ir.Node, centre: ir.Node) -> bool:
    """Whether ``node`` squares the centred values, and the centred values feed the norm alone."""
    value = centre.outputs[0]
    if node.inputs[0] is not value or value.is_graph_output():
        return False
    squared = scalar_of(node.inputs[1]) == 2.0 if node.op_type == "Pow" else node.inputs[1] is value
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
    em.define_rows(last.outputs[0], out)
