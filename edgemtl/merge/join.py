"""Several graphs that read the same inputs become one, in which what they compute alike is there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgemtl.merge.keys import NodeKeys
from edgemtl.partition.share import ContentKeys


@dataclass(frozen=True)
class Joined:
    """What the joined graph consists of.

    nodes: in order, those of the first graph first, each with the numbers of the graphs that need it.  constants: the
    initializers, in the same way.  outputs: of each graph, in its order.
    """

    nodes: dict[ir.Node, set[int]]
    constants: dict[ir.Value, set[int]]
    outputs: tuple[tuple[ir.Value, ...], ...]


def join(graphs: Sequence[ir.Graph], inputs: Sequence[ir.Value], opset: int) -> Joined:
    """Take the nodes out of ``graphs`` and let them read ``inputs`` instead of their own, in order.

    Two nodes become one where the same operator with the same attributes reads the same values, two constants where
    type, shape and bytes are equal. The results keep their bits.
    """
    content = ContentKeys()
    joiner = _Joiner(inputs, content, NodeKeys(content, opset))
    outputs = tuple(joiner.take(graph, number) for number, graph in enumerate(graphs))
    return Joined(joiner.nodes, joiner.constants, outputs)


class _Joiner:
    """The joined graph as it grows, and the first node and constant of every key."""

    def __init__(self, inputs: Sequence[ir.Value], content: ContentKeys, keys: NodeKeys) -> None:
        self._inputs, self._content, self._keys = inputs, content, keys
        self._first_nodes: dict[object, ir.Node] = {}
        self._first_constants: dict[bytes, ir.Value] = {}
        self.nodes: dict[ir.Node, set[int]] = {}
        self.constants: dict[ir.Value, set[int]] = {}

    def take(self, graph: ir.Graph, number: int) -> tuple[ir.Value, ...]:
        """Empty the graph; what now stands for its outputs."""
        outputs = list(graph.outputs)
        graph.outputs.clear()
        twins = dict(zip(graph.inputs, self._inputs, strict=True))
        for name, value in list(graph.initializers.items()):
            assert value.const_value is not None
            del graph.initializers[name]
            twins[value] = first = self._first_constants.setdefault(self._content(value.const_value), value)
            self.constants.setdefault(first, set()).add(number)
        for own, twin in twins.items():
            _redirect(own, twin)
        for node in list(graph):
            graph.remove(node)
            first_node = self._first_nodes.setdefault(self._keys(node), node)
            self.nodes.setdefault(first_node, set()).add(number)
            for own, twin in zip(node.outputs, first_node.outputs, strict=True):
                twins[own] = twin
                _redirect(own, twin)
            if first_node is not node:
                _detach(node)
        return tuple(twins[value] for value in outputs)


def _redirect(own: ir.Value, twin: ir.Value) -> None:
    if own is not twin:
        ir.convenience.replace_all_uses_with(own, twin)


def _detach(node: ir.Node) -> None:
    """So that what the node reads no longer counts it among its readers."""
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)
