"""Sums and products of computed values, and activations that no layer takes along."""

from __future__ import annotations

from functools import partial

import onnx_ir as ir

from edgemtl.graph import array_of, dtype_of, is_op, result, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import View
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.activation import Activation, match_activation, strip_activation
from edgemtl.lowering.patterns.axes import CHANNELS_FIRST, CHANNELS_LAST, lies_channels_last
from edgemtl.operators import Activate, Add, Multiply


def match_add(node: ir.Node) -> Group | None:
    """Add of two computed float32 values, with numpy's broadcasting, and the Relu behind it."""
    activation = strip_activation(result(node))
    last = activation.source.producer()
    if last is None or activation.name not in ("", "relu") or not _is_binary(last, "Add"):
        return None
    return Group("add", (*activation.nodes, last), partial(_emit_binary, activation=activation, kind=Add))


def match_multiply(node: ir.Node) -> Group | None:
    """Mul of two computed float32 values, with numpy's broadcasting."""
    if not _is_binary(node, "Mul"):
        return None
    value = Activation("", result(node), ())
    return Group("multiply", (node,), partial(_emit_binary, activation=value, kind=Multiply))


def match_activate(node: ir.Node) -> Group | None:
    """An activation that is written out in several operators, behind something that does not take it along."""
    activation = match_activation(result(node))
    if activation is None or len(activation.nodes) == 1 or dtype_of(activation.source) != "float32":
        return None
    return Group("activation", activation.nodes, partial(_emit_activation, node=node, activation=activation))


def _is_binary(node: ir.Node, op: str) -> bool:
    computed = is_op(node, op) and all(array_of(value) is None for value in node.inputs)
    return computed and dtype_of(result(node)) == "float32"


def _emit_binary(em: Emitter, activation: Activation, kind: type[Add] | type[Multiply]) -> None:
    """Channels-last where an operand lies so, else in the order of the graph."""
    last = activation.source.producer()
    assert last is not None
    value = result(activation.nodes[0]) if activation.nodes else result(last)
    views = [em.views[operand] for operand in last.inputs if operand is not None]
    turned = any(map(lies_channels_last, views)) and all(len(view.shape) in (0, 4) for view in views)
    a, b = (em.dense(view.transpose(CHANNELS_LAST) if turned and len(view.shape) == 4 else view) for view in views)
    operator = Add(a.shape, b.shape, activation.name) if kind is Add else Multiply(a.shape, b.shape)
    y = em.new(operator.shape)
    em.step(operator, {"a": a, "b": b, "y": y})
    em.views[value] = y.transpose(CHANNELS_FIRST) if turned else em.reshaped(y, shape_of(value))


def _emit_activation(em: Emitter, node: ir.Node, activation: Activation) -> None:
    view = em.views[activation.source]
    turned = lies_channels_last(view)
    x = em.dense(view.transpose(CHANNELS_LAST) if turned else view)
    y = em.new(x.shape)
    em.step(Activate(x.size, activation.name), {"x": _flat(em, x), "y": _flat(em, y)})
    em.views[result(node)] = y.transpose(CHANNELS_FIRST) if turned else y


def _flat(em: Emitter, view: View) -> View:
    return em.reshaped(view, (view.size,))
