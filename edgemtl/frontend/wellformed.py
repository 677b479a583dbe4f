"""Whether a model is a graph at all: every value has one name and one producer, and is computed before it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir

from edgemtl.frontend.task_count import graphs_of


def find_flaw(model: onnx.ModelProto | ir.Model) -> str | None:
    """The first flaw of the main graph and the subgraphs in it, None where there is none."""
    if isinstance(model, ir.Model):
        flaws = _graph_flaws(model.graph, set())
        return next(flaws, None) or next(_shared_names(model.graph), None)
    return next(_proto_flaws(model.graph, set()), None)


def _graph_flaws(graph: ir.Graph, known: set[ir.Value]) -> Iterator[str]:
    """known: the values of the graphs around this one, the same afterwards."""
    own = {*graph.inputs, *graph.initializers.values()}
    known |= own
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in known:
                yield f"node {node.name} reads {value.name}, which no node before it computes"
        for inner in _inner_graphs(node):
            yield from _graph_flaws(inner, known)
        own.update(node.outputs)
        known.update(node.outputs)
    for value in graph.outputs:
        if value not in known:
            yield f"nothing computes the output {value.name}"
    known -= own


def _inner_graphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _shared_names(graph: ir.Graph) -> Iterator[str]:
    values = {*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)}
    return _repeated(value.name for value in values if value.name)


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"two values have the name {name}"
        seen.add(name)


def _proto_flaws(graph: onnx.GraphProto, known: set[str]) -> Iterator[str]:
    """known: the names of the graphs around this one, the same afterwards."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    shadowed = known & own
    known |= own
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                yield f"node {node.name} reads {name}, which no node before it computes"
        for attribute in node.attribute:
            for inner in graphs_of(attribute):
                yield from _proto_flaws(inner, known)
        for name in node.output:
            if name in own and name:
                yield f"two values have the name {name}"
            own.add(name)
            known.add(name)
    for value in graph.output:
        if value.name not in known:
            yield f"nothing computes the output {value.name}"
    known -= own - shadowed
