"""Attention: softmax(q k^T * scale) v over the heads, however an exporter cuts q, k and v out of their
projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgemtl.frontend.rounding import find_rounding
from edgemtl.graph import (
    attribute,
    constant_operand,
    is_op,
    is_private,
    main_input,
    operand,
    private_producer,
    result,
    scalar_of,
    shape_of,
)
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import View, dense
from edgemtl.lowering.match import Group, Refusal
from edgemtl.lowering.patterns.generic import leftover
from edgemtl.lowering.patterns.projections import Projections, emit_projections, match_projections
from edgemtl.lowering.patterns.view import match_view
from edgemtl.lowering.views import is_view
from edgemtl.operators import Attention, Linear


@dataclass(frozen=True)
class _Operand:
    """A value with scalar factors taken out: the factors' product, and the nodes that carried them and lay
    between.
    """

    value: ir.Value
    factor: float
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class _Attention:
    """Heads, tokens and the width of a head; the factor on the scores; the nodes, the product with v first.

    ``projections``: the linear layers of q, k and v, where each has its own.
    """

    shape: tuple[int, int, int]
    scale: float
    nodes: tuple[ir.Node, ...]
    projections: Projections | None


def match_attention(node: ir.Node) -> Group | Refusal | None:
    """MatMul(Softmax(MatMul(q, k^T)), v), with as many keys as queries and heads of one width, without a mask; the
    scores, q, or q and k may be scaled.
    """
    softmax = private_producer(operand(node, "A"), "Softmax") if is_op(node, "MatMul") else None
    if softmax is None or not _last_axis(softmax):
        return None
    scores = unscaled(operand(softmax, "input"))
    if shape_of(scores.value) != shape_of(operand(softmax, "input")):
        return None
    product = private_producer(scores.value, "MatMul")
    if product is None:
        return Refusal("attention scores must be a scaled product of q and k, not a sum with a mask", "remove the mask")
    q, k, v = operand(product, "A"), operand(product, "B"), operand(node, "B")
    if q is None or k is None or v is None:
        return None
    *lead, heads, tokens, width = (1, *shape_of(q))[-4:]
    if lead != [1] or shape_of(v)[-3:] != (heads, tokens, width) or shape_of(k)[-3:] != (heads, width, tokens):
        return Refusal("attention must have as many keys as queries and heads of one width", "")
    scaled_q, scaled_k = unscaled(q), unscaled(k)
    factor = scores.factor * scaled_q.factor * scaled_k.factor
    nodes = (node, softmax, *scores.nodes, product, *scaled_q.nodes, *scaled_k.nodes)
    projections = match_projections((scaled_q.value, scaled_k.value, v))
    if projections is not None:
        nodes = (*nodes, *projections.nodes)
    attention = _Attention((heads, tokens, width), factor, nodes, projections)
    return Group("attention", nodes, lambda em: _emit(em, attention, (q, k, v)))


def _last_axis(softmax: ir.Node) -> bool:
    axis, rank = attribute(softmax, "axis", -1), len(shape_of(result(softmax)))
    return axis in (-1, rank - 1)


def unscaled(value: ir.Value | None) -> _Operand:
    """Take scalar factors off a value, looking behind views; the views in front of the last factor go with
    it.
    """
    assert value is not None
    best = _Operand(value, 1.0, ())
    nodes: list[ir.Node] = []
    factor = 1.0
    while is_private(value) and (node := value.producer()) is not None:
        behind = _factor(node)
        if behind is not None:
            value, factor = behind[0], factor * behind[1]
            nodes.append(node)
            best = _Operand(value, factor, tuple(nodes))
        elif is_view(node) and len(node.outputs) == 1 and (source := main_input(node)) is not None:
            value = source
            nodes.append(node)
        else:
            break
    return best


def _factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """(other operand, factor) of a multiplication or division by a scalar, but for the end of a rounding."""
    if find_rounding(node) is not None:
        return None
    if is_op(node, "Mul") and (operands := constant_operand(node)) is not None:
        constant, other = operands
        factor = scalar_of(constant)
        return (other, factor) if factor is not None else None
    if is_op(node, "Div"):
        dividend, divisor = operand(node, "A"), scalar_of(operand(node, "B"))
        return (dividend, 1.0 / divisor) if dividend is not None and divisor else None
    return None


def _trace(em: Emitter, value: ir.Value) -> View:
    """Where a value's elements lie, its scalar factors left out."""
    if value in em.views:
        return em.views[value]
    node = value.producer()
    assert node is not None
    behind = _factor(node)
    if behind is not None:
        return _trace(em, behind[0])
    source = main_input(node)
    assert source is not None
    return em.look(node, _trace(em, source))[0]


def _emit(em: Emitter, attention: _Attention, operands: tuple[ir.Value, ir.Value, ir.Value]) -> None:
    heads, tokens, width = attention.shape
    if attention.projections is not None:
        emit_projections(em, attention.projections)
    steps = len(em.steps)
    q, k, v = (em.reshaped(_trace(em, value), shape) for value, shape in zip(operands, _shapes(attention), strict=True))
    parts = (q, k.transpose((0, 2, 1)), v)
    if em.forbidden is None and not _of_one_layer(em, parts, attention):
        # In integers each of q, k and v has a scale, which is known where one layer makes them, not behind copies.
        del em.steps[steps:]
        _emit_nodes(em, attention)
        return
    packed = _packed(em, parts, attention)
    out = em.new((tokens, heads * width))
    em.step(Attention(tokens, heads, width, attention.scale), {"qkv": packed, "y": out})
    by_head = em.reshaped(out, (tokens, heads, width)).transpose((1, 0, 2))
    value = result(attention.nodes[0])
    em.views[value] = em.reshaped(by_head, shape_of(value))


def _of_one_layer(em: Emitter, parts: tuple[View, View, View], attention: _Attention) -> bool:
    """Whether q, k and v lie side by side where a linear layer writes them."""
    heads, tokens, width = attention.shape
    whole = dense(parts[0].buffer, (tokens, 3 * heads * width))
    writers = [step.operator for step in em.steps if step.result.buffer == whole.buffer]
    is_packed = all(part.sees_as(_part(whole, i, attention)) for i, part in enumerate(parts))
    return is_packed and len(writers) == 1 and isinstance(writers[0], Linear)


def _emit_nodes(em: Emitter, attention: _Attention) -> None:
    """Node by node."""
    inside = set(attention.nodes) - set(attention.projections.nodes if attention.projections else ())
    graph = attention.nodes[0].graph
    assert graph is not None
    for node in graph:
        if node in inside:
            em.nodes = (node,)
            (match_view(node) or leftover(node, None)).emit(em)


def _shapes(attention: _Attention) -> tuple[tuple[int, int, int], ...]:
    heads, tokens, width = attention.shape
    return attention.shape, (heads, width, tokens), attention.shape


def _packed(em: Emitter, parts: tuple[View, View, View], attention: _Attention) -> View:
    """q, k and v side by side in rows [T, 3 D]: where they lie if they lie so, else copied."""
    heads, tokens, width = attention.shape
    dim = heads * width
    whole = dense(parts[0].buffer, (tokens, 3 * dim))
    if all(part.sees_as(_part(whole, i, attention)) for i, part in enumerate(parts)):
        return whole
    fresh = em.new((tokens, 3 * dim))
    for i, part in enumerate(parts):
        em.copy(part, _part(fresh, i, attention))
    return fresh


def _part(packed: View, index: int, attention: _Attention) -> View:
    """q (0), k (1) or v (2) of packed rows, as [heads, tokens, width]."""
    heads, tokens, width = attention.shape
    grid = packed.reshape((tokens, 3, heads, width))
    assert grid is not None
    return grid.apply(lambda a: a[:, index].transpose(1, 0, 2))
