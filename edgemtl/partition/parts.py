"""Which part of the network a node is: patches, attention, dense FFN, gates, experts, head.

Decided by what feeds what. Between two nodes that multiply (matrix products, convolutions, experts)
everything else is looked through: a product is known by the products next before and behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import takewhile

import onnx_ir as ir

from edgemtl.frontend.model import ORIGIN
from edgemtl.frontend.moe_node import is_moe
from edgemtl.graph import is_op
from edgemtl.partition.macs import COUNTS

PARTS = ("patch", "attention", "ffn", "gates", "experts", "head", "other")
"""In the order of the data; "other" is all of a graph without attention and experts."""

LOGITS = 1  # the MoE input the router's logits come in by


class Parts:
    """Names the part of every multiplying node of one graph; the graph may have one task or many."""

    def __init__(self, graph: ir.Graph) -> None:
        self._nodes = tuple(graph)
        self._before: dict[ir.Node, frozenset[ir.Node]] = {}
        self._behind: dict[ir.Node, frozenset[tuple[ir.Node, int]]] = {}
        self._find_neighbours()

    def part(self, node: ir.Node) -> str:
        """One of `PARTS`.

        The head is what no attention and no experts come behind, unless its origin says it is of the trunk:
        the dense FFN of a last block. Patches are what no attention and no experts come before.
        """
        if not self._anchors:
            return "other"
        if node in self._anchors:
            return "experts" if is_moe(node) else "attention"
        behind = self._behind[node]
        if behind and all(is_moe(other) and index == LOGITS for other, index in behind):
            return "gates"
        if self._is_projection(node):
            return "attention"
        if not self._leads_to_anchor[node] and not self._is_of_trunk(node):
            return "head"
        return "ffn" if self._follows_anchor[node] else "patch"

    def _is_projection(self, node: ir.Node) -> bool:
        """Of the queries, keys and values, or of what attention gives."""
        before = self._before[node]
        if any(other in self._attention for other, _ in self._behind[node]):
            return True
        return bool(before) and before <= self._attention

    @cached_property
    def _attention(self) -> frozenset[ir.Node]:
        """Products of two computed matrices."""
        return frozenset(n for n in self._nodes if is_op(n, "MatMul", "Einsum") and len(_computed(n)) > 1)

    @cached_property
    def _anchors(self) -> frozenset[ir.Node]:
        return self._attention | {node for node in self._nodes if is_moe(node)}

    @cached_property
    def _follows_anchor(self) -> Mapping[ir.Node, bool]:
        follows: dict[ir.Node, bool] = {}
        for node in self._nodes:
            follows[node] = any(follows[p] or p in self._anchors for p in _producers(node))
        return follows

    @cached_property
    def _leads_to_anchor(self) -> Mapping[ir.Node, bool]:
        leads: dict[ir.Node, bool] = {}
        for node in reversed(self._nodes):
            leads[node] = any(leads[c] or c in self._anchors for c, _ in _consumers(node))
        return leads

    @cached_property
    def _trunk(self) -> frozenset[str]:
        """First components of the anchors' origins, behind what all origins of the graph begin with."""
        return frozenset(root for node in self._anchors if (root := self._root(node)))

    @cached_property
    def _shared_path(self) -> int:
        levels = zip(*(path for node in self._nodes if (path := _path(node))), strict=False)
        return len([*takewhile(lambda level: len(set(level)) == 1, levels)])

    def _root(self, node: ir.Node) -> str:
        return next(iter(_path(node)[self._shared_path :]), "")

    def _is_of_trunk(self, node: ir.Node) -> bool:
        return self._root(node) in self._trunk

    def _find_neighbours(self) -> None:
        for node in self._nodes:
            self._before[node] = frozenset().union(
                *({p} if _multiplies(p) else self._before[p] for p in _producers(node))
            )
        for node in reversed(self._nodes):
            self._behind[node] = frozenset().union(
                *({(c, i)} if _multiplies(c) else self._behind[c] for c, i in _consumers(node))
            )


def _multiplies(node: ir.Node) -> bool:
    return is_moe(node) or is_op(node, *COUNTS)


def _computed(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and value.const_value is None]


def _producers(node: ir.Node) -> Iterator[ir.Node]:
    return (p for value in _computed(node) if (p := value.producer()) is not None)


def _consumers(node: ir.Node) -> Iterator[tuple[ir.Node, int]]:
    return ((use.node, use.idx) for value in node.outputs for use in value.uses())


def _path(node: ir.Node) -> list[str]:
    return [part for part in node.metadata_props.get(ORIGIN, "").split(".") if part]
