"""Where a mixture of experts lies in a graph: from what routes its tokens to the value all its paths lead to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgemtl.graph import is_constant, is_static, main_input, operand, shape_of, size_of

SHAPING = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Expand", "Tile"})
"""Operators that lay the same tokens out differently."""
LAYERS = frozenset({"MatMul", "Gemm", "Einsum", "Conv"})
"""Operators that may be a layer of an expert, or of what follows the mixture."""
MOST_SCORES = 6
"""Values that are tried as the weights of a TopK's choices, the last first."""


@dataclass(frozen=True)
class ExpertChoice:
    """What routes T tokens to E experts, k of them each: `values` of one of three forms.

    logits: one value [.., E]; a softmax over it decides.  weights: one value with the experts' weights along `axis`,
    at most k of a token's not 0.  choices: k weights and k different columns, both [.., k].
    anchor: the node a user finds the mixture by.
    """

    anchor: ir.Node
    form: Literal["logits", "weights", "choices"]
    values: tuple[ir.Value, ...]
    k: int
    tokens: int
    columns: int
    axis: int = -1

    @property
    def place(self) -> ir.Node:
        """The node that computes the first of the values, the anchor where it is an input."""
        return self.values[0].producer() or self.anchor

    def feeds(self, routing: np.ndarray) -> Mapping[str, np.ndarray]:
        """The values that mean logits, or weights, [T, E]; of weights at most k in a row are not 0."""
        if self.form != "choices":
            (value,) = self.values
            shape = list(shape_of(value))
            columns = shape.pop(self.axis)
            array = np.moveaxis(routing.reshape(*shape, columns), -1, self.axis)
            return {f"{value.name}": np.ascontiguousarray(array)}
        order = np.argsort(-np.abs(routing), axis=-1, kind="stable")[:, : self.k]
        # Nothing may depend on the order in which a token's choices come.
        order[1::2] = order[1::2, ::-1]
        weights, chosen = self.values
        arrays = np.take_along_axis(routing, order, -1), order.astype(np.int64)
        return {f"{v.name}": a.reshape(shape_of(v)) for v, a in zip((weights, chosen), arrays, strict=True)}


def find_logits(graph: ir.Graph) -> Iterator[ExpertChoice]:
    """Logits of which every TopK or ArgMax over the last axis chooses the best."""
    for node in _choosing(graph):
        source = main_input(node)
        assert source is not None
        logits = _before_softmax(source)
        if len(shape_of(logits)) > 1 and not is_constant(logits):
            yield ExpertChoice(node, "logits", (logits,), *_sizes(node))


def find_choices(graph: ir.Graph) -> Iterator[ExpertChoice]:
    """Choices of every TopK or ArgMax over the last axis, with floats that may be their weights, the last first."""
    for node in _choosing(graph):
        k, tokens, columns = _sizes(node)
        *_, chosen = node.outputs
        scores = [value for other in _behind(node) for value in other.outputs if _is_scores(value, tokens, k)]
        for value in scores[-1 : -MOST_SCORES - 1 : -1] if k < columns else ():
            yield ExpertChoice(node, "choices", (value, chosen), k, tokens, columns)


def _choosing(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that choose along the last axis of a value of fixed shape."""
    for node in [node for node in graph if node.op_type in ("TopK", "ArgMax") and node.domain == ""]:
        k, source = _choices(node), main_input(node)
        if k is None or source is None or not is_static(source) or not _over_last_axis(node, source):
            continue
        if 1 <= k <= shape_of(source)[-1]:
            yield node


def _sizes(node: ir.Node) -> tuple[int, int, int]:
    """k, tokens and columns of a node that chooses."""
    source, k = main_input(node), _choices(node)
    assert source is not None
    assert k is not None
    columns = shape_of(source)[-1]
    return k, size_of(source) // columns, columns


def _is_scores(value: ir.Value, tokens: int, k: int) -> bool:
    """Whether a value is floats [.., k] or [.., k, 1], one for each choice."""
    if value.dtype != ir.DataType.FLOAT or not is_static(value) or size_of(value) != tokens * k:
        return False
    shape = shape_of(value)
    return k == 1 or k in (shape[-1], *(shape[-2:-1] if shape[-1] == 1 else ()))


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
        if not is_static(source) or shape_of(source)[-1:] != shape_of(value)[-1:]:
            return value
        value, producer = source, source.producer()
    if producer is not None and producer.op_type == "Softmax" and (source := operand(producer, "input")) is not None:
        axis = producer.attributes.get_int("axis", -1)
        return source if source.shape is not None and axis in (-1, len(source.shape) - 1) else value
    return value


def _behind(node: ir.Node) -> list[ir.Node]:
    """The node and what depends on it in front of the next layers, in order."""
    routed = set(node.outputs)
    behind = [node]
    for other in list(node.graph or ()):
        if other.op_type not in LAYERS and any(value in routed for value in other.inputs if value is not None):
            routed.update(other.outputs)
            behind.append(other)
    return behind


def before(values: Iterable[ir.Value], but_for: Set[ir.Value] = frozenset()) -> set[ir.Node]:
    """The nodes that the values are computed by, without those that only values of `but_for` need."""
    todo, nodes = list(values), set[ir.Node]()
    while todo:
        node = todo.pop().producer()
        if node is not None and node not in nodes:
            nodes.add(node)
            todo += [value for value in node.inputs if value is not None and value not in but_for]
    return nodes


def cuts(router: ExpertChoice, nodes: list[ir.Node]) -> Iterator[tuple[ir.Value, frozenset[ir.Value]]]:
    """The values every path from the router leads through, in order, each with all that depends on it so far.

    nodes: those of the graph that are needed, in order.
    """
    inner = before(router.values)
    later = [node for node in nodes if node not in inner]
    needed = set(later)
    live = {value: _uses(value, needed) for value in router.values if _uses(value, needed)}
    routed = set(router.values)
    for node in later:
        read = [value for value in node.inputs if value is not None and value in routed]
        if not read:
            continue
        for value in read:
            live[value] -= 1
            if live[value] == 0:
                del live[value]
        routed.update(node.outputs)
        live.update({value: uses for value in node.outputs if (uses := _uses(value, needed))})
        if len(live) == 1 and (value := next(iter(live))) in node.outputs:
            yield value, frozenset(routed)


def _uses(value: ir.Value, nodes: set[ir.Node]) -> int:
    return sum(use.node in nodes for use in value.uses()) + int(value.is_graph_output())
