"""Find mixture-of-experts layers in ordinary operators and rewrite them to `edgemtl::MoE`."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.frontend.moe_node import is_moe, logits_of
from edgemtl.frontend.passes import Notes
from edgemtl.frontend.recognise.dense import describe_dense
from edgemtl.frontend.recognise.experts import NotRecognisedError, find_experts
from edgemtl.frontend.recognise.insert import insert_mixture
from edgemtl.frontend.recognise.probe import Mixture, probe
from edgemtl.frontend.recognise.region import ExpertChoice, before, cuts, find_choices, find_logits
from edgemtl.frontend.recognise.weights import find_weights

ROUTING_WORDS = {"Sigmoid": "sigmoid scores", "Softmax": "softmax scores", "CumSum": "limited capacity"}
"""What operators of a routing say of it."""


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
        taken = f"ordinary operators taken as a mixture of {_describe(router, mixture)}"
        return (f"node {node.name}: {taken}; runs sparse; checked on random tokens",)
    return ()


def _describe(router: ExpertChoice, mixture: Mixture) -> str:
    a = mixture.attributes
    gated = f"gated by {a.activation}" if a.gated else a.activation
    how = ["normalised"] * a.normalize if router.form == "logits" else _describe_routing(router, mixture)
    return ", ".join([f"{router.columns} experts", f"top {a.k}", gated, *how])


def _describe_routing(router: ExpertChoice, mixture: Mixture) -> list[str]:
    """What computes the weights, in words: scores, limits, choices."""
    routing = before(router.values) - before([mixture.experts.x])
    operators = [node.op_type for node in routing]
    choices = sum(operator in ("TopK", "ArgMax") for operator in operators)
    words = [word for operator, word in ROUTING_WORDS.items() if operator in operators]
    return [*words, *([f"{choices} choices in turn"] if choices > 1 else []), "weighed by the model's own operators"]
