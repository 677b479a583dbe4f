"""The mixture of experts: route tokens, run experts in expert order, combine what each token chose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir

from edgemtl.frontend.moe_node import MoEAttributes, is_moe
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.graph import addends, array_of, shape_of
from edgemtl.lowering.ir import Constant, View
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.linear import behind_views
from edgemtl.tvm_bridge.specs import CombineSpec, ExpertSpec, RouterSpec


@dataclass(frozen=True)
class _Mixture:
    """A MoE node and the residual sum behind it; ``first`` and ``second`` hold weight and bias of each
    expert.
    """

    node: ir.Node
    attributes: MoEAttributes
    first: tuple[Constant, ...]
    second: tuple[Constant, ...]
    residual: ir.Value | None
    value: ir.Value


def match_moe(node: ir.Node) -> Group | None:
    """edgemtl::MoE, and the residual sum behind it."""
    if is_moe(node):
        alone = _mixture(node)
        return Group("moe", (node,), partial(_emit, found=alone))
    for value, residual in addends(node):
        behind, between = behind_views(value)
        moe = behind.producer() if behind is not None else None
        if moe is not None and is_moe(moe):
            found = replace(_mixture(moe), residual=residual, value=node.outputs[0])
            return Group("moe", (moe, *between, node), partial(_emit, found=found))
    return None


def _mixture(node: ir.Node) -> _Mixture:
    attributes = MoEAttributes.from_node(node)
    first, second = _experts(node, 2, attributes), _experts(node, 4, attributes)
    return _Mixture(node, attributes, first, second, None, node.outputs[0])


def _experts(node: ir.Node, index: int, attributes: MoEAttributes) -> tuple[Constant, ...]:
    """Weight and bias of every expert in turn, each its own tensor, so that tasks share the experts they
    share.
    """
    weight, bias = node.inputs[index], node.inputs[index + 1]
    weights, biases = array_of(weight), array_of(bias)
    assert weight is not None
    assert bias is not None
    assert weights is not None, "the partition refuses computed experts"
    assert biases is not None
    ids = attributes.experts or tuple(range(len(weights)))
    pairs = (
        (Constant(f"{weight.name}.{expert}", weights[e]), Constant(f"{bias.name}.{expert}", biases[e]))
        for e, expert in enumerate(ids)
    )
    return tuple(constant for pair in pairs for constant in pair)


def _emit(em: Emitter, found: _Mixture) -> None:
    x, logits = found.node.inputs[0], found.node.inputs[1]
    assert x is not None
    assert logits is not None
    k, activation, count = found.attributes.k, found.attributes.activation, len(found.first) // 2
    dim, hidden = found.first[0].array.shape
    tokens = shape_of(x)[0]
    routes = _route(em, em.dense(em.views[logits]), found.attributes, count)
    inner, outer = em.new((tokens * k, hidden)), em.new((tokens * k, dim))
    up = ExpertSpec(tokens, k, count, dim, hidden, True, activation)
    down = ExpertSpec(tokens, k, count, hidden, dim, False, "")
    em.step(up, (em.rows(x), routes.token, routes.first), (inner,), found.first)
    em.step(down, (inner, routes.token, routes.first), (outer,), found.second)
    out = em.new((tokens, dim))
    added = (em.rows(found.residual),) if found.residual is not None else ()
    combine = CombineSpec(tokens, k, dim, bool(added))
    em.step(combine, (outer, routes.weight, routes.slot, *added), (out,))
    em.define_rows(found.value, out)


@dataclass(frozen=True)
class _Routes:
    """What the router decides: weights and slots [T, k], each slot's token, each expert's first slot."""

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
    em.step(spec, (logits,), (routes.weight, routes.slot, routes.token, routes.first))
    return routes
