"""Normalisations that are written out in single operators: by a root of squares, over any one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    array_of,
    attribute,
    constant_operand,
    dtype_of,
    ints_of,
    is_op,
    operand,
    private_producer,
    result,
    scalar_of,
    shape_of,
)
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant
from edgemtl.lowering.match import Group
from edgemtl.operators import Array, LayerNorm, TensorType
from edgemtl.tvm_bridge.generic import Call, lower_call

RMS_OPSET = 23
"""The first that has RMSNormalization."""


@dataclass(frozen=True)
class _Root:
    """A value over the root of its squares along an axis: the value, whether its mean is taken away, and the nodes.

    is_mean: of the mean of the squares, else of their sum; ``epsilon`` is added below the root.
    """

    source: ir.Value
    axis: int
    is_centred: bool
    is_mean: bool
    epsilon: float
    nodes: tuple[ir.Node, ...]


def match_root_norm(node: ir.Node) -> Group | None:
    """x / sqrt(mean or sum of squares + epsilon) along one axis, x with or without its mean, and a constant gain for
    each element of the axis: RMSNorm, L2 normalisation and LayerNorm over channels, written out.
    """
    nodes: list[ir.Node] = []
    last: ir.Node | None = node
    constants: dict[str, Array] = {}
    for op in ("Add", "Mul"):
        operands = constant_operand(last) if last is not None and is_op(last, op) else None
        array = array_of(operands[0]) if operands is not None else None
        if last is not None and operands is not None and array is not None:
            nodes.append(last)
            constants[op] = array
            last = private_producer(operands[1])
    root = _root(last) if last is not None else None
    if root is None or ("Add" in constants and not root.is_centred):
        return None
    vectors = {op: _along(array, root) for op, array in constants.items()}
    if any(vector is None for vector in vectors.values()):
        return None
    width = shape_of(root.source)[root.axis]
    gain, shift = vectors.get("Mul"), vectors.get("Add")
    gain = np.ones(width, np.float32) if gain is None else gain
    shift = np.zeros(width, np.float32) if shift is None else shift
    return Group("root_norm", (*nodes, *root.nodes), lambda em: _emit(em, node, root, gain, shift))


def _along(array: Array, root: _Root) -> Array | None:
    """A constant as one number for each element of the axis; None where it differs along others."""
    shape = shape_of(root.source)
    if array.size == 1:
        return np.full(shape[root.axis], array.reshape(()), np.float32)
    aligned = (1,) * (len(shape) - array.ndim) + array.shape
    expected = tuple(size if axis == root.axis else 1 for axis, size in enumerate(shape))
    return array.reshape(-1).astype(np.float32) if aligned == expected else None


def _root(node: ir.Node) -> _Root | None:
    quotient = _quotient(node)
    if quotient is None or dtype_of(result(node)) != "float32":
        return None
    value, sqrt, nodes = quotient
    add = private_producer(operand(sqrt, "X"), "Add")
    operands = constant_operand(add) if add is not None else None
    epsilon = scalar_of(operands[0]) if operands is not None else None
    reduction = private_producer(operands[1], "ReduceMean", "ReduceSum") if operands is not None else None
    square = private_producer(operand(reduction, "data"), "Mul", "Pow") if reduction is not None else None
    axis = axis_of(reduction) if reduction is not None else None
    if add is None or epsilon is None or reduction is None or square is None or axis is None or not epsilon > 0:
        return None
    if not is_square_of(square, value):
        return None
    inside = (*nodes, sqrt, add, reduction, square)
    is_mean = is_op(reduction, "ReduceMean")
    if centre := _centre(value, axis, {node, square}):
        source = operand(centre[0], "A")
        assert source is not None
        return _Root(source, axis, True, is_mean, epsilon, (*inside, *centre)) if is_mean else None
    return _Root(value, axis, False, is_mean, epsilon, inside)


def _quotient(node: ir.Node) -> tuple[ir.Value, ir.Node, tuple[ir.Node, ...]] | None:
    """A value that a node divides by a root, or multiplies by one over it; the root, and the nodes behind it."""
    if is_op(node, "Div"):
        value, sqrt = operand(node, "A"), private_producer(operand(node, "B"), "Sqrt")
        return (value, sqrt, (node,)) if value is not None and sqrt is not None else None
    if not is_op(node, "Mul"):
        return None
    first, second = node.inputs
    for value, factor in ((first, second), (second, first)):
        inverse = private_producer(factor, "Reciprocal", "Div")
        if value is None or inverse is None:
            continue
        is_division = is_op(inverse, "Div")
        if is_division and scalar_of(operand(inverse, "A")) != 1:
            continue
        sqrt = private_producer(operand(inverse, "B" if is_division else "X"), "Sqrt")
        if sqrt is not None:
            return value, sqrt, (node, inverse)
    return None


def axis_of(node: ir.Node) -> int | None:
    """The one axis, kept as an axis of one, that a node reduces."""
    rank = len(shape_of(operand(node, "data")))
    axes = ints_of(operand(node, "axes")) or attribute(node, "axes", ())
    return axes[0] % rank if len(axes) == 1 and attribute(node, "keepdims", 1) == 1 else None


def is_square_of(node: ir.Node, value: ir.Value) -> bool:
    """Whether a Mul or a Pow is the square of a value."""
    base, other = node.inputs
    return base is value and (scalar_of(other) == 2 if is_op(node, "Pow") else other is value)


def _centre(value: ir.Value, axis: int, readers: set[ir.Node]) -> tuple[ir.Node, ir.Node] | None:
    """The nodes that take the mean along an axis away, if only ``readers`` read what is left."""
    subtract = value.producer()
    if subtract is None or not is_op(subtract, "Sub") or value.is_graph_output():
        return None
    mean = private_producer(operand(subtract, "B"), "ReduceMean")
    is_private = {use.node for use in value.uses()} <= readers
    if mean is None or not is_private or operand(mean, "data") is not operand(subtract, "A") or axis_of(mean) != axis:
        return None
    return subtract, mean


def _emit(em: Emitter, last: ir.Node, root: _Root, gain: Array, shift: Array) -> None:
    """Along the last axis of a view whose axes are brought into that order."""
    rank = len(shape_of(root.source))
    order = (*(axis for axis in range(rank) if axis != root.axis), root.axis)
    x = em.dense(em.views[root.source].transpose(order))
    width = x.shape[-1]
    scale = Constant(f"{last.name}.gain", gain)
    if root.is_centred:
        rows, y = em.reshaped(x, (x.size // width, width)), em.new((x.size // width, width))
        constants = {"scale": scale, "shift": Constant(f"{last.name}.shift", shift)}
        em.step(LayerNorm(x.size // width, width, root.epsilon), {"x": rows, "y": y}, constants)
    else:
        # By the sum: as by the mean, times the root of the width.
        parts = 1 if root.is_mean else width
        kind, vector = TensorType(x.shape, "float32"), TensorType((width,), "float32")
        attributes = {"axis": -1, "epsilon": root.epsilon / parts}
        factors = (gain.astype(np.float64) / math.sqrt(parts)).astype(np.float32)
        call = Call("RMSNormalization", RMS_OPSET, attributes, (kind, vector), {1: factors}, (kind,))
        lowered, y = lower_call(f"{last.name}.norm", call), em.new(x.shape)
        weights = tuple(Constant(scale.name, array) for array in lowered.weights)
        em.append(replace(lowered.operator, work=0), (x,), (y,), weights)
    em.views[result(last)] = em.reshaped(y, x.shape).transpose(tuple(np.argsort(order).tolist()))
