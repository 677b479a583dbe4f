"""L2 normalisation written out: a value over the root of the sum of its squares along an axis, bounded from below."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgemtl.graph import constant_operand, dtype_of, is_op, operand, private_producer, result, scalar_of, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.root_norm import axis_of, is_square_of
from edgemtl.operators import TensorType
from edgemtl.tvm_bridge.generic import Call, lower_call

LP_OPSET = 22
"""The last that changed LpNormalization."""


def match_l2_norm(node: ir.Node) -> Group | None:
    """x / max(norm of x along one axis, a constant) or x / norm: torch's normalize, and what people write for it.

    The norm is a ReduceL2, or the Sqrt of a ReduceSum of squares; Clip or Max bounds it, Expand may repeat it.
    """
    value = operand(node, "A") if is_op(node, "Div") else None
    if value is None or dtype_of(value) != "float32" or shape_of(result(node)) != shape_of(value):
        return None
    nodes, floor = [node], 0.0
    last = private_producer(operand(node, "B"))
    if last is not None and is_op(last, "Expand"):
        nodes.append(last)
        last = private_producer(operand(last, "input"))
    bounded = _bounded(last) if last is not None else None
    if last is not None and bounded is not None:
        nodes.append(last)
        last, floor = private_producer(bounded[0]), bounded[1]
    norm = _norm(last, value) if last is not None else None
    if norm is None:
        return None
    axis, inside = norm
    return Group("l2_norm", (*nodes, *inside), lambda em: _emit(em, node, value, axis, floor))


def _bounded(node: ir.Node) -> tuple[ir.Value, float] | None:
    """What a Clip or a Max bounds from below alone, and by which positive constant."""
    value, bound = None, None
    if is_op(node, "Clip") and operand(node, "max") is None:
        value, bound = operand(node, "input"), scalar_of(operand(node, "min"))
    elif is_op(node, "Max") and len(node.inputs) == 2 and (operands := constant_operand(node)) is not None:
        value, bound = operands[1], scalar_of(operands[0])
    return (value, bound) if value is not None and bound is not None and bound > 0 else None


def _norm(node: ir.Node, value: ir.Value) -> tuple[int, tuple[ir.Node, ...]] | None:
    """The axis along which a node is the norm of a value, and the nodes that compute it."""
    if is_op(node, "ReduceL2"):
        axis = axis_of(node) if operand(node, "data") is value else None
        return None if axis is None else (axis, (node,))
    reduction = private_producer(operand(node, "X"), "ReduceSum") if is_op(node, "Sqrt") else None
    square = private_producer(operand(reduction, "data"), "Mul", "Pow") if reduction is not None else None
    if reduction is None or square is None or not is_square_of(square, value):
        return None
    axis = axis_of(reduction)
    return None if axis is None else (axis, (node, reduction, square))


def _emit(em: Emitter, last: ir.Node, value: ir.Value, axis: int, floor: float) -> None:
    x = em.dense(em.views[value])
    kind = TensorType(x.shape, "float32")
    attributes = {"axis": axis, "p": 2} | ({"floor": floor} if floor else {})
    call = Call("LpNormalization", LP_OPSET, attributes, (kind,), {}, (kind,))
    lowered, y = lower_call(f"{last.name}.norm", call), em.new(x.shape)
    em.append(replace(lowered.operator, work=0), (x,), (y,), ())
    em.views[result(last)] = y
