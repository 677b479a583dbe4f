"""Experts: which ones a router can pick, and a graph without the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgemtl.bundle import MoEEntry
from edgemtl.errors import UnsupportedError
from edgemtl.frontend.moe_node import MoEAttributes, logits_of, moe_nodes
from edgemtl.graph import add_constant, array_of, is_op, main_input, operand, replace_operand, shape_of
from edgemtl.operators import Array
from edgemtl.partition.narrow import narrow

WEIGHTS = ("w1", "b1", "w2", "b2", "w3", "b3")
"""The operands of a MoE node that its experts are stacked in; the last two are of gated experts."""
NEVER = float(np.finfo(np.float32).min) / 2
"""A constant this low added to a logit leaves the expert a probability of exactly 0: exp underflows."""


def pathways(model: ir.Model) -> tuple[MoEEntry, ...]:
    """For each MoE node of the graph, the experts its router can pick.

    A window leaves its own experts. Those masked by a constant are out of reach, as long as k others are not.
    """
    return tuple(_pathway(layer, node) for layer, node in enumerate(moe_nodes(model)))


def _pathway(layer: int, node: ir.Node) -> MoEEntry:
    _weights(node)
    attributes, logits = MoEAttributes.from_node(node), logits_of(node)
    total = shape_of(logits)[-1]
    first, size = attributes.window or (0, total)
    candidates = attributes.experts or range(first, first + size)
    masked = _masked_columns(logits, total) if attributes.routing == "softmax" else ()
    open_ = tuple(expert for expert in candidates if expert not in masked)
    experts = open_ if len(open_) >= attributes.k else tuple(candidates)
    return MoEEntry(str(node.name), layer, experts, total, attributes.k)


def _weights(node: ir.Node) -> dict[str, Array]:
    """The weights of all the node's experts, by the names of its operands."""
    values = {name: operand(node, name) for name in WEIGHTS}
    arrays = {name: array_of(value) for name, value in values.items() if value is not None}
    weights = {name: array for name, array in arrays.items() if array is not None}
    if len(weights) != len(arrays):
        reason = "the weights of its experts are computed in the graph"
        raise UnsupportedError(str(node.name), reason, "export the model with its weights as initializers")
    return weights


def _masked_columns(logits: ir.Value, total: int) -> frozenset[int]:
    """Columns of the logits that a constant pushes out of reach, for every token."""
    node = logits.producer()
    while node is not None and is_op(node, "Reshape", "Identity", "Cast") and (source := main_input(node)) is not None:
        node = source.producer()
    if node is None or not is_op(node, "Add", "Where"):
        return frozenset()
    low = _below(node)
    if low is None or low.ndim == 0 or low.shape[-1] != total:
        return frozenset()
    return frozenset(np.flatnonzero(low.reshape(-1, total).all(axis=0)).tolist())


def _below(node: ir.Node) -> Array | None:
    """Where the node's constants decide that its result is out of reach."""
    arrays = [array_of(value) for value in node.inputs]
    if node.op_type == "Add":
        shift = next((array for array in arrays if array is not None), None)
        return None if shift is None else np.asarray(shift <= NEVER)
    choose, yes, no = arrays
    if choose is None:
        return None
    low = [False if branch is None else branch <= NEVER for branch in (yes, no)]
    return np.asarray(np.where(choose, *low))


def keep_experts(model: ir.Model, remaining: Sequence[MoEEntry]) -> None:
    """Drop the experts no pathway has, the gates' columns of windows with them. In place.

    Afterwards no node has a window. A node that lost experts its logits still have columns for lists the rest
    in `experts`: the softmax sees every column, so what is left computes the same bits.
    """
    nodes = {str(node.name): node for node in moe_nodes(model)}
    for pathway in remaining:
        _keep(model.graph, nodes[pathway.node], pathway.experts)


def _keep(graph: ir.Graph, node: ir.Node, experts: Sequence[int]) -> None:
    attributes, logits = MoEAttributes.from_node(node), logits_of(node)
    total = shape_of(logits)[-1]
    first, size = attributes.window or (0, total)
    stacked = attributes.experts or range(len(_weights(node)["w1"]))
    if size < total:
        replace_operand(node, "logits", narrow(graph, logits, first, size))
    _take(graph, node, [stacked.index(expert) for expert in experts])
    columns = [expert - first for expert in experts]
    node.attributes.pop("window", None)
    node.attributes.pop("experts", None)
    if len(columns) < size:
        node.attributes["experts"] = ir.AttrInt64s("experts", columns)


def _take(graph: ir.Graph, node: ir.Node, rows: Sequence[int]) -> None:
    for name, array in _weights(node).items():
        old = operand(node, name)
        if old is not None and len(rows) < array.shape[0]:
            replace_operand(node, name, add_constant(graph, f"{old.name}.kept", array[list(rows)]))
