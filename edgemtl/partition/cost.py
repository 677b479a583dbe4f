"""What a graph costs: multiply-accumulates by part, and the bytes of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgemtl.partition.macs import macs
from edgemtl.partition.parts import PARTS, Parts
from edgemtl.partition.share import ContentKeys


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one run, and bytes of the weights it reads, equal ones counted once.

    parts: multiply-accumulates by part of the network, in the order of `parts.PARTS`; they sum up to `macs`.
    """

    macs: int
    weight_bytes: int
    parts: tuple[tuple[str, int], ...]

    @property
    def head_macs(self) -> int:
        """Multiply-accumulates behind the last block."""
        return dict(self.parts)["head"]

    @property
    def encoder_macs(self) -> int:
        """Multiply-accumulates up to the last block."""
        return self.macs - self.head_macs

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        split = {"encoder_macs": self.encoder_macs, "head_macs": self.head_macs}
        return {"macs": self.macs, **split, "weight_bytes": self.weight_bytes, "parts": dict(self.parts)}


def cost_of(model: ir.Model) -> Cost:
    """The cost of every node of a graph, each counted once however many tasks it serves."""
    return _cost(model.graph, model.graph, _weights(model.graph), ContentKeys())


def common_cost(models: Sequence[ir.Model]) -> Cost:
    """What all the graphs have in common: nodes that compute the same in each, weights of equal content."""
    keys = ContentKeys()
    node_keys = _NodeKeys(keys)
    numbered = [node_keys.of(model.graph) for model in models]
    shared = set(numbered[0].values()).intersection(*(numbers.values() for numbers in numbered[1:]))
    nodes = [node for node, number in numbered[0].items() if number in shared]
    digests = [{keys(tensor) for tensor in _weights(model.graph)} for model in models]
    everywhere = digests[0].intersection(*digests[1:])
    weights = [tensor for tensor in _weights(models[0].graph) if keys(tensor) in everywhere]
    return _cost(models[0].graph, nodes, weights, keys)


def _cost(graph: ir.Graph, nodes: Iterable[ir.Node], weights: Iterable[ir.TensorProtocol], keys: ContentKeys) -> Cost:
    parts, names = dict.fromkeys(PARTS, 0), Parts(graph)
    for node in nodes:
        if work := macs(node):
            parts[names.part(node)] += work
    distinct = {keys(tensor): tensor.nbytes for tensor in weights}
    return Cost(sum(parts.values()), sum(distinct.values()), tuple(parts.items()))


def _weights(graph: ir.Graph) -> list[ir.TensorProtocol]:
    """Floating-point initializers: the integers beside them are shapes and axes."""
    tensors = (value.const_value for value in graph.initializers.values())
    return [tensor for tensor in tensors if tensor is not None and tensor.dtype.is_floating_point()]


class _NodeKeys:
    """Numbers that two nodes, of whichever graph, share exactly if they compute the same.

    The same operator and attributes on the same inputs: results of such nodes, constants of equal content, or
    graph inputs of one name.
    """

    def __init__(self, keys: ContentKeys) -> None:
        self._content = keys
        self._numbers: dict[object, int] = {}

    def of(self, graph: ir.Graph) -> dict[ir.Node, int]:
        numbers: dict[ir.Node, int] = {}
        for node in graph:
            inputs = tuple(self._value(value, numbers) for value in node.inputs)
            attributes = tuple(sorted((name, str(given.value)) for name, given in node.attributes.items()))
            what = (node.domain, node.op_type, attributes, inputs)
            numbers[node] = self._numbers.setdefault(what, len(self._numbers))
        return numbers

    def _value(self, value: ir.Value | None, numbers: dict[ir.Node, int]) -> object:
        if value is None:
            return None
        if value.const_value is not None:
            return self._content(value.const_value)
        producer = value.producer()
        return value.name if producer is None else (numbers[producer], value.index())
