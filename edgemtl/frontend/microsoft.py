"""onnxruntime's own mixture-of-experts operator, `com.microsoft::MoE`, as `edgemtl::MoE`.

onnxruntime on a CPU takes `gelu` as the tanh approximation (checked numerically against 1.32).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.errors import UnsupportedError
from edgemtl.frontend.limits import all_nodes
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, MoEAttributes
from edgemtl.frontend.passes import Notes
from edgemtl.graph import add_constant, array_of, operand, result

MICROSOFT = "com.microsoft"
ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu"}
UNGATED = 6
"""Inputs of experts of two matrices; those behind are of a third."""
HINT = "replace it by standard operators"


def rewrite_microsoft_moe(model: ir.Model) -> Notes:
    """Replace each node, and say so; `UnsupportedError` for one that has no equal. In place."""
    notes: list[str] = []
    for node in [n for n in all_nodes(model.graph) if (n.domain, n.op_type) == (MICROSOFT, "MoE")]:
        attributes = _attributes(node)
        _replace(model.graph, node, attributes)
        what = f"{MICROSOFT}::MoE, top {attributes.k}, {attributes.activation}"
        notes.append(f"node {node.name}: {what} as onnxruntime computes it on a CPU")
    model.opset_imports.pop(MICROSOFT, None)
    return tuple(notes)


def _attributes(node: ir.Node) -> MoEAttributes:
    get = node.attributes
    activation = get.get_string("activation_type", "relu") or ""
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UnsupportedError(f"node {node.name}", f"activation {activation} is none of {known}", HINT)
    if get.get_int("use_sparse_mixer", 0):
        raise UnsupportedError(f"node {node.name}", "it routes by the sparse mixer, not by a softmax", HINT)
    if any(value is not None for value in node.inputs[UNGATED:]):
        raise UnsupportedError(f"node {node.name}", "its experts are gated (three matrices)", HINT)
    return MoEAttributes(
        k=get.get_int("k", 1) or 1,
        activation=ACTIVATIONS[activation],
        normalize=bool(get.get_int("normalize_routing_weights", 0)),
    )


def _replace(graph: ir.Graph, node: ir.Node, attributes: MoEAttributes) -> None:
    x, logits = operand(node, "input"), operand(node, "router_probs")
    w1, b1 = array_of(operand(node, "fc1_experts_weights")), operand(node, "fc1_experts_bias")
    w2, b2 = array_of(operand(node, "fc2_experts_weights")), operand(node, "fc2_experts_bias")
    if x is None or logits is None or w1 is None or w2 is None or w1.ndim != 3 or w2.ndim != 3:
        raise UnsupportedError(f"node {node.name}", "its experts' weights are not constants", HINT)
    experts, hidden, dim = w1.shape
    name = f"{node.name}"
    flat = add_constant(graph, f"{name}.tokens.shape", np.array([-1, dim]))
    before = ir.node("Reshape", [x, flat], name=f"{name}/Reshape")
    shape = ir.node("Shape", [x], name=f"{name}/Shape")
    weights = [
        add_constant(graph, f"{name}.w1", w1.transpose(0, 2, 1)),
        b1 or add_constant(graph, f"{name}.b1", np.zeros((experts, hidden), w1.dtype)),
        add_constant(graph, f"{name}.w2", w2.transpose(0, 2, 1)),
        b2 or add_constant(graph, f"{name}.b2", np.zeros((experts, dim), w1.dtype)),
    ]
    moe = ir.node(OP_TYPE, [result(before), logits, *weights], attributes.to_dict(), domain=DOMAIN, name=name)
    after = ir.node("Reshape", [result(moe), result(shape)], name=f"{name}/Reshape_1")
    for new in (before, shape, moe, after):
        result(new).name = f"{new.name}.output"
    ir.convenience.replace_nodes_and_values(
        node.graph or graph, node, [node], [before, shape, moe, after], node.outputs, after.outputs
    )
