"""Where merged tasks part: the last layer that some of them have in common, and whether they have any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from edgemtl.frontend.moe_node import is_moe
from edgemtl.graph import is_op, name_of
from edgemtl.merge.join import Joined
from edgemtl.partition.macs import COUNTS

INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


class Parting:
    """Answers for one joined graph, before its names change."""

    def __init__(self, joined: Joined, inputs: Sequence[ir.Value]) -> None:
        self._joined = joined
        self._computed = _follow(joined, inputs)

    def last_common(self, numbers: set[int]) -> str | None:
        """The name of the last layer that all graphs of these numbers need; None where there is none.

        A layer reads an input, maybe through other layers, and a weight.
        """
        names = [
            name_of(node) for node, users in self._joined.nodes.items() if numbers <= users and self._is_layer(node)
        ]
        return names[-1] if names else None

    def last_shared(self, number: int) -> str | None:
        """As `last_common`, of one graph with any other."""
        common = (node for node, users in self._joined.nodes.items() if number in users and len(users) > 1)
        names = [name_of(node) for node in common if self._is_layer(node)]
        return names[-1] if names else None

    def shares_weights(self, number: int) -> bool:
        """Whether the graph multiplies by a matrix or filter that another one stores as well."""
        shared = (value for value, users in self._joined.constants.items() if number in users and len(users) > 1)
        return any(self._is_multiplied(value) for value in shared if _is_matrix(value))

    def _is_layer(self, node: ir.Node) -> bool:
        values = [value for value in node.inputs if value is not None]
        weights = [v for v in values if v not in self._computed and v.dtype not in INTEGERS]
        return bool(weights) and len(weights) < len(values)

    def _is_multiplied(self, value: ir.Value) -> bool:
        """By what inputs give, as it is or after being transposed, dequantised and the like."""
        return any(self._multiplies(use.node) for use in value.uses())

    def _multiplies(self, node: ir.Node) -> bool:
        if any(value in self._computed for value in node.outputs):
            return is_op(node, *COUNTS) or is_moe(node)
        return any(self._is_multiplied(value) for value in node.outputs)


def _follow(joined: Joined, inputs: Sequence[ir.Value]) -> set[ir.Value]:
    """All values that depend on an input."""
    computed = {*inputs}
    for node in joined.nodes:
        if not computed.isdisjoint(_reads(node)):
            computed.update(node.outputs)
    return computed


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, graphs inside it included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from (value for inner in attribute.as_graph() for value in _reads(inner))
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from (value for graph in attribute.as_graphs() for inner in graph for value in _reads(inner))


def _is_matrix(value: ir.Value) -> bool:
    """Whether a constant has two axes at least, and different numbers: not what any two models may have."""
    tensor = value.const_value
    assert tensor is not None
    if tensor.dtype in INTEGERS or sum(size > 1 for size in tensor.shape.numpy()) < 2:
        return False
    array = tensor.numpy()
    return bool((array != array.flat[0]).any())
