"""Where a mixture of experts lies in a graph: from its router's logits to the value all its paths lead to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgemtl.graph import is_constant, main_input, operand, size_of

SHAPING = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Expand", "Tile"})
"""Operators that lay the same tokens out differently."""


@dataclass(frozen=True)
class ExpertChoice:
    """The choice of experts: `anchor` picks the k best columns of the logits [.., E], one row per token."""

    anchor: ir.Node
    logits: ir.Value
    k: int
    tokens: int
    columns: int


def find_router(node: ir.Node) -> ExpertChoice | None:
    """The router a TopK or ArgMax over the last axis belongs to, None where its shape or k is not fixed."""
    k = _choices(node)
    source = main_input(node)
    if k is None or source is None or not _over_last_axis(node, source):
        return None
    logits = _before_softmax(source)
    if logits.shape is None or not logits.shape.is_static() or len(logits.shape) < 2 or is_constant(logits):
        return None
    sizes = logits.shape.numpy()
    columns = sizes[-1]
    return ExpertChoice(node, logits, k, size_of(logits) // max(columns, 1), columns) if 1 <= k <= columns else None


def _choices(node: ir.Node) -> int | None:
    if node.op_type == "ArgMax":
        return 1
    if node.op_type != "TopK" or not node.attributes.get_int("largest", 1):
        return None
    count = operand(node, "K")
    tensor = ir.convenience.get_const_tensor(count) if count is not None else None
    return int(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else None


def _over_last_axis(node: ir.Node, source: ir.Value) -> bool:
    axis = node.attributes.get_int("axis", -1 if node.op_type == "TopK" else 0)
    return source.shape is not None and axis in (-1, len(source.shape) - 1)


def _before_softmax(value: ir.Value) -> ir.Value:
    producer = value.producer()
    while producer is not None and producer.op_type in SHAPING and (source := main_input(producer)) is not None:
        value, producer = source, source.producer()
    if producer is not None and producer.op_type == "Softmax" and (source := operand(producer, "input")) is not None:
        axis = producer.attributes.get_int("axis", -1)
        return source if source.shape is not None and axis in (-1, len(source.shape) - 1) else value
    return value


def cuts(router: ExpertChoice, nodes: list[ir.Node]) -> Iterator[tuple[ir.Value, frozenset[ir.Value]]]:
    """The values every path from the logits leads through, in order, each with all that depends on the logits so far.

    nodes: those of the graph, in order.
    """
    live = {router.logits: len(router.logits.uses())}
    routed = {router.logits}
    for node in nodes:
        read = [value for value in node.inputs if value is not None and value in routed]
        if not read:
            continue
        for value in read:
            live[value] -= 1
            if live[value] == 0:
                del live[value]
        routed.update(node.outputs)
        live.update({value: uses for value in node.outputs if (uses := _uses(value))})
        if len(live) == 1 and (value := next(iter(live))) in node.outputs:
            yield value, frozenset(routed)


def _uses(value: ir.Value) -> int:
    return len(value.uses()) + int(value.is_graph_output())
