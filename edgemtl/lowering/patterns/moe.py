"""The mixture of experts: route tokens, run experts in expert order, combine what each token chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir

from edgemtl.frontend.moe_node import MoEAttributes, is_moe
from edgemtl.graph import addends, array_of, operand, result, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant, View
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.linear import behind_views
from edgemtl.operators import Combine, Dispatch, Experts, Multiply, Router

_Layer = Mapping[str, tuple[Constant, ...]]
"""Weight and bias of each expert, every one its own tensor, so that tasks share the experts they share."""


@dataclass(frozen=True)
class _Mixture:
    """A MoE node, the constants of its experts' two layers (three where they are gated), and the residual sum."""

    node: ir.Node
    attributes: MoEAttributes
    first: _Layer
    second: _Layer
    third: _Layer | None
    residual: ir.Value | None
    value: ir.Value


def match_moe(node: ir.Node) -> Group | None:
    """edgemtl::MoE, to which the frontend also rewrites mixtures in other forms, and the residual sum after it."""
    if is_moe(node):
        alone = _mixture(node)
        return Group("moe", (node,), partial(_emit, mixture=alone))
    for value, residual in addends(node):
        behind, between = behind_views(value)
        moe = behind.producer() if behind is not None else None
        if moe is not None and is_moe(moe):
            mixture = replace(_mixture(moe), residual=residual, value=result(node))
            return Group("moe", (moe, *between, node), partial(_emit, mixture=mixture))
    return None


def _mixture(node: ir.Node) -> _Mixture:
    attributes = MoEAttributes.from_node(node)
    first, second = _experts(node, "w1", "b1", attributes), _experts(node, "w2", "b2", attributes)
    third = _experts(node, "w3", "b3", attributes) if attributes.gated else None
    return _Mixture(node, attributes, first, second, third, None, result(node))


def _experts(node: ir.Node, stacked_weight: str, stacked_bias: str, attributes: MoEAttributes) -> _Layer:
    weight, bias = operand(node, stacked_weight), operand(node, stacked_bias)
    weights, biases = array_of(weight), array_of(bias)
    assert weight is not None
    assert bias is not None
    assert weights is not None, "the partition refuses computed experts"
    assert biases is not None
    ids = attributes.experts or tuple(range(len(weights)))
    return {
        "weight": tuple(Constant(f"{weight.name}.{expert}", weights[e]) for e, expert in enumerate(ids)),
        "bias": tuple(Constant(f"{bias.name}.{expert}", biases[e]) for e, expert in enumerate(ids)),
    }


def _emit(em: Emitter, mixture: _Mixture) -> None:
    x, logits = operand(mixture.node, "x"), operand(mixture.node, "logits")
    assert x is not None
    assert logits is not None
    k, count = mixture.attributes.k, len(mixture.first["weight"])
    activation = "" if mixture.attributes.activation == "identity" else mixture.attributes.activation
    dim, hidden = mixture.first["weight"][0].array.shape
    tokens = shape_of(x)[0]
    routes = _route(em, em.dense(em.views[logits]), mixture.attributes)
    inner, outer = em.new((tokens * k, hidden)), em.new((tokens * k, dim))
    up = Experts(tokens, k, count, dim, hidden, True, activation)
    down = Experts(tokens, k, count, hidden, dim, False, "")
    queues = {"tokens": routes["tokens"], "offsets": routes["offsets"]}
    em.step(up, {"x": em.rows(x), **queues, "y": inner}, mixture.first)
    if mixture.third is not None:
        inner = _multiplied(em, inner, replace(up, activation=""), {"x": em.rows(x), **queues}, mixture.third)
    em.step(down, {"x": inner, **queues, "y": outer}, mixture.second)
    out = em.new((tokens, dim))
    added = {"residual": em.rows(mixture.residual)} if mixture.residual is not None else {}
    choices = {"weights": routes["weights"], "slots": routes["slots"]}
    em.step(Combine(tokens, k, dim, bool(added)), {"x": outer, **choices, **added, "y": out})
    em.define_rows(mixture.value, out)


def _multiplied(em: Emitter, inner: View, up: Experts, views: Mapping[str, View], third: _Layer) -> View:
    """The activated units times what the experts' third matrices make of the same rows."""
    linear, product = em.new(inner.shape), em.new(inner.shape)
    em.step(up, {**views, "y": linear}, third)
    em.step(Multiply(inner.shape, inner.shape), {"a": inner, "b": linear, "y": product})
    return product


def _route(em: Emitter, logits: View, attributes: MoEAttributes) -> Mapping[str, View]:
    """What the router decides, by the names of its outputs."""
    assert attributes.window is None, "the partition removes windows"
    tokens, columns = logits.shape
    candidates = attributes.experts or tuple(range(columns))
    sizes = tokens, columns, attributes.k, candidates
    router: Router | Dispatch
    if attributes.routing == "weights":
        router = Dispatch(*sizes)
    else:
        router = Router(*sizes, attributes.normalize, attributes.threshold)
    routes = {name: em.new(kind.shape, kind.dtype) for name, kind in router.signature.outputs.items()}
    em.step(router, {"logits": logits, **routes})
    return routes
