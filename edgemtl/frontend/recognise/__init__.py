"""Find mixture-of-experts layers in ordinary operators and rewrite them to `edgemtl::MoE`."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.model import ORIGIN
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE
from edgemtl.frontend.passes import Notes
from edgemtl.frontend.recognise.experts import ExpertStack, NotRecognisedError, find_experts
from edgemtl.frontend.recognise.probe import Mixture, probe
from edgemtl.frontend.recognise.region import ExpertChoice, cuts, find_router
from edgemtl.graph import replace_value, result, shape_of


def recognise(model: ir.Model) -> Notes:
    """Rewrite every region that computes a mixture of experts; a note for each, and for what only looks like one.

    In place; what is no longer needed stays until the next dead-code elimination.
    """
    notes: list[str] = []
    for anchor in [node for node in model.graph if node.op_type in ("TopK", "ArgMax") and node.domain == ""]:
        router = find_router(anchor)
        if router is None:
            continue
        try:
            notes += _rewrite_at(model, router)
        except NotRecognisedError as reason:
            notes.append(f"node {anchor.name}: MoE layer not recognised because {reason}")
    return tuple(notes)


def _rewrite_at(model: ir.Model, router: ExpertChoice) -> Notes:
    """Rewrite the first region behind the router that computes a mixture; what it was taken as, nothing for none."""
    for end, routed in cuts(router, list(model.graph)):
        experts = find_experts(end, router, routed)
        if experts is None:
            continue
        mixture = probe(router, experts, end, model.opset_imports[""])
        node = _insert(model.graph, router, experts, mixture, end)
        a = mixture.attributes
        what = f"{router.columns} experts, top {a.k}, {a.activation}{', normalised' * a.normalize}"
        return (f"node {node.name}: ordinary operators taken as a mixture of {what}; checked on random tokens",)
    return ()


def _insert(graph: ir.Graph, router: ExpertChoice, experts: ExpertStack, mixture: Mixture, end: ir.Value) -> ir.Node:
    """The MoE node in the place of the region before `end`."""
    name = f"{router.anchor.name}/{OP_TYPE}"
    place = end.producer()
    assert place is not None
    order, dim = list(mixture.order), shape_of(experts.x)[-1]
    parts = {"w1": experts.w1, "b1": experts.b1, "w2": experts.w2, "b2": experts.b2}
    weights = [_initializer(graph, f"{name}.{part}", array[order]) for part, array in parts.items()]
    x, first = _reshaped(graph, experts.x, (router.tokens, dim), f"{name}.x")
    logits, second = _reshaped(graph, router.logits, (router.tokens, router.columns), f"{name}.logits")
    node = ir.node(OP_TYPE, [x, logits, *weights], mixture.attributes.to_dict(), domain=DOMAIN, name=name)
    _type(result(node), (router.tokens, dim), f"{name}.y")
    node.metadata_props.update({k: v for k, v in router.anchor.metadata_props.items() if k == ORIGIN})
    mixed, third = _reshaped(graph, result(node), shape_of(end), f"{name}.result")
    graph.insert_after(place, [*first, *second, node, *third])
    replace_value(end, mixed)
    return node


def _reshaped(graph: ir.Graph, value: ir.Value, shape: tuple[int, ...], name: str) -> tuple[ir.Value, list[ir.Node]]:
    if shape_of(value) == shape:
        return value, []
    target = _initializer(graph, f"{name}.shape", np.array(shape, np.int64))
    node = ir.node("Reshape", [value, target], name=f"{name}/Reshape")
    _type(result(node), shape, name)
    return result(node), [node]


def _type(value: ir.Value, shape: tuple[int, ...], name: str) -> None:
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
