"""Find mixture-of-experts layers in ordinary operators and rewrite them to `edgemtl::MoE`."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.frontend.moe_node import MoEAttributes, is_moe, logits_of
from edgemtl.frontend.passes import Notes
from edgemtl.frontend.recognise.dense import describe_dense
from edgemtl.frontend.recognise.experts import NotRecognisedError, find_experts
from edgemtl.frontend.recognise.insert import insert_mixture
from edgemtl.frontend.recognise.probe import probe
from edgemtl.frontend.recognise.region import ExpertChoice, before, cuts, find_choices, find_logits
from edgemtl.frontend.recognise.weights import find_weights


def recognise(model: ir.Model) -> Notes:
    """Rewrite every region that computes a mixture of experts; a note for each, and for what only looks like one.

    In place; what is no longer needed stays until the next dead-code elimination.
    """
    notes: list[str] = []
    reasons: dict[ir.Node, str] = {}
    for find in (find_logits, find_weights, find_choices):
        for router in find(model.graph):
            if router.place not in _computing(model.graph):
                continue
            try:
                notes += _rewrite_at(model, router)
            except NotRecognisedError as reason:
                reasons.setdefault(router.anchor, str(reason))
    computing = _computing(model.graph)
    unknown = {anchor: reason for anchor, reason in reasons.items() if anchor in computing}
    notes += [f"node {a.name}: MoE layer not recognised because {reason}" for a, reason in unknown.items()]
    return (*notes, *describe_dense(model.graph))


def _computing(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that outputs need for more than to route tokens of mixtures that are recognised."""
    routings = {logits_of(node) for node in graph if is_moe(node)}
    return before(graph.outputs, but_for=routings)


def _rewrite_at(model: ir.Model, router: ExpertChoice) -> Notes:
    """Rewrite the first region behind the router that computes a mixture; what it was taken as, nothing for none."""
    needed = before(model.graph.outputs)
    for end, routed in cuts(router, [node for node in model.graph if node in needed]):
        experts = find_experts(end, router, routed)
        if experts is None:
            continue
        mixture = probe(router, experts, end, model.opset_imports[""])
        node = insert_mixture(model.graph, router, mixture, end)
        taken = f"ordinary operators taken as a mixture of {_describe(router, mixture.attributes)}"
        return (f"node {node.name}: {taken}; runs sparse; checked on random tokens",)
    return ()


def _describe(router: ExpertChoice, a: MoEAttributes) -> str:
    gated = f"gated by {a.activation}" if a.gated else a.activation
    how = ", normalised" * a.normalize if router.form == "logits" else ", weighed by the model's own routing"
    return f"{router.columns} experts, top {a.k}, {gated}{how}"
