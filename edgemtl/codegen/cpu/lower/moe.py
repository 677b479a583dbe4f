"""The mixture of experts: route tokens, run experts in expert order, combine what each token chose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from edgemtl.codegen.cpu.emit import Emitter
from edgemtl.codegen.cpu.graph import addends, array_of, named_constant, shape_of
from edgemtl.codegen.cpu.ir import Constant, View
from edgemtl.codegen.cpu.lower.linear import behind_views
from edgemtl.codegen.cpu.match import Group
from edgemtl.frontend.moe_node import MoEAttributes, is_moe
from edgemtl.tvm_bridge.specs import CombineSpec, ExpertSpec, RouterSpec


def match_moe(node: ir.Node) -> Group | None:
    """edgemtl::MoE, and the residual sum behind it."""
    if is_moe(node):
        return Group("moe", (node,), lambda em: _emit(em, node, None, node.outputs[0]))
    for value, residual in addends(node):
        behind, between = behind_views(value)
        moe = behind.producer() if behind is not None else None
        if moe is not None and is_moe(moe):
            emit = partial(_emit, node=moe, residual=residual, value=node.outputs[0])
            return Group("moe", (moe, *between, node), emit)
    return None


def _emit(em: Emitter, node: ir.Node, residual: ir.Value | None, value: ir.Value) -> None:
    x, logits, w1 = node.inputs[0], node.inputs[1], node.inputs[2]
    assert x is not None
    assert logits is not None
    assert w1 is not None
    attributes = MoEAttributes.from_node(node)
    routes = _route(em, em.views[logits], attributes, shape_of(w1)[0])
    (tokens, _), (count, dim, hidden) = shape_of(x), shape_of(w1)
    slots = tokens * attributes.k
    inner, outer = em.new((slots, hidden)), em.new((slots, dim))
    first = ExpertSpec(tokens, attributes.k, count, dim, hidden, True, attributes.activation)
    second = ExpertSpec(tokens, attributes.k, count, hidden, dim, False, "")
    em.step(first, (em.rows(x), routes.token, routes.first), (inner,), _experts(node, 2, attributes))
    em.step(second, (inner, routes.token, routes.first), (outer,), _experts(node, 4, attributes))
    out = em.new((tokens, dim))
    added = (em.rows(residual),) if residual is not None else ()
    combine = CombineSpec(tokens, attributes.k, dim, bool(added))
    em.step(combine, (outer, routes.weight, routes.slot, *added), (out,))
    em.define_rows(value, out)


@dataclass(frozen=True)
class _Routes:
    """What the router decides: weights and slots [T, k], the token of each slot, the first slot of each
    expert.
    """

    weight: View
    slot: View
    token: View
    first: View


def _route(em: Emitter, logits: View, attributes: MoEAttributes, count: int) -> _Routes:
    assert attributes.window is None, "the partition removes windows"
    tokens, columns = logits.shape
    candidates, k = attributes.experts or tuple(range(columns)), attributes.k
    routes = _Routes(
        em.new((tokens, k)),
        em.new((tokens, k), "int32"),
        em.new((tokens * k,), "int32"),
        em.new((count + 1,), "int32"),
    )
    spec = RouterSpec(tokens, columns, k, candidates, attributes.normalize, attributes.threshold)
    em.step(spec, (em.dense(logits),), (routes.weight, routes.slot, routes.token, routes.first))
    return routes


def _experts(node: ir.Node, index: int, attributes: MoEAttributes) -> tuple[Constant, ...]:
    """Weight and bias of every expert, in turn: each is a tensor of its own, so tasks share the experts they
    share.
    """
    weight, bias = node.inputs[index], node.inputs[index + 1]
    weights, biases = array_of(weight), array_of(bias)
    assert weight is not None
    assert bias is not None
    assert weights is not None
    assert biases is not None
    pairs = (
        (
            named_constant(f"{weight.name}.{expert}", weights[e]),
            named_constant(f"{bias.name}.{expert}", biases[e]),
        )
        for e, expert in enumerate(attributes.experts or range(len(weights)))
    )
    return tuple(constant for pair in pairs for constant in pair)
