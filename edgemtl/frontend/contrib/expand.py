"""Put the bodies of contributed operators in their nodes' places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import onnx

from edgemtl.frontend.contrib.call import Call, Formals
from edgemtl.frontend.contrib.table import EXPANSIONS, INTEGER, MICROSOFT, STANDARD, Body
from edgemtl.frontend.contrib.types import TypeTable

Find = Callable[[onnx.NodeProto], tuple[Formals, Body] | None]


def is_contributed(node: onnx.NodeProto) -> bool:
    """Whether `expand_contributed` knows the node's operator."""
    return node.domain == MICROSOFT and node.op_type in EXPANSIONS


def _is_lacking(node: onnx.NodeProto, opset: int) -> bool:
    """Whether ONNX does not have the operator in this opset, or does not infer the shape of its output."""
    if node.domain != "" or node.op_type not in STANDARD:
        return False
    known = onnx.defs.has(node.op_type, opset, "")
    return not known or not onnx.defs.get_schema(node.op_type, opset, "").has_type_and_shape_inference_function


def expand_contributed(proto: onnx.ModelProto, opset: int) -> None:
    """Expand every node of `com.microsoft` that can be, in operators of `opset`. In place.

    Raises `UnsupportedError` for a use of one that has no expansion.
    """
    expand_where(proto, opset, lambda node: EXPANSIONS[node.op_type] if is_contributed(node) else None)


def expand_standard(proto: onnx.ModelProto, opset: int) -> None:
    """The same for operators of the standard domain that ONNX does not have in this opset, or has in part."""
    expand_where(proto, opset, lambda node: STANDARD[node.op_type] if _is_lacking(node, opset) else None)


def expand_integer(proto: onnx.ModelProto, opset: int) -> None:
    """The same for operators of the standard domain that compute with quantised integers."""
    expand_where(proto, opset, lambda node: INTEGER.get(node.op_type) if node.domain == "" else None)


def expand_where(proto: onnx.ModelProto, opset: int, find: Find) -> None:
    """Expand the nodes for which `find` gives names of inputs and outputs and a body. In place."""
    if _has_any(proto.graph.node, find):
        _expand_graph(proto.graph, TypeTable(proto, opset), find, set(_reads(proto.graph)))


def _has_any(nodes: Iterable[onnx.NodeProto], find: Find) -> bool:
    return any(find(node) is not None or any(_has_any(g.node, find) for g in _graphs(node)) for node in nodes)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs


def _reads(graph: onnx.GraphProto) -> Iterator[str]:
    """The values that a graph or one inside it reads or gives out."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for inner in _graphs(node):
            yield from _reads(inner)


def _expand_graph(graph: onnx.GraphProto, types: TypeTable, find: Find, read: set[str]) -> None:
    types.enter(graph)
    nodes: list[onnx.NodeProto] = []
    prefixes = _prefixes(graph.node)
    for node, prefix in zip(graph.node, prefixes, strict=True):
        for inner in _graphs(node):
            _expand_graph(inner, types, find, read)
        expansion = find(node)
        if expansion is None:
            body = [node]
        else:
            # An output that is listed and not read is not asked for.
            node.output[:] = [name if name in read else "" for name in node.output]
            body = _body(Call(node, types.known, types.opset), *expansion, prefix)
        for part in body:
            types.infer(part)
        nodes += body
    del graph.node[:]
    graph.node.extend(nodes)


def _prefixes(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """For each node its name, or one made of its number where it has none of its own."""
    counts = Counter(node.name for node in nodes)
    return [
        node.name if node.name and counts[node.name] == 1 else f"{node.name or node.op_type}_{index}"
        for index, node in enumerate(nodes)
    ]


def _body(call: Call, names: Formals, write: Body, prefix: str) -> list[onnx.NodeProto]:
    """The nodes that compute what the call does; names of them and of values inside begin with `prefix`."""
    node, lines = call.node, "\n ".join(write(call))
    header = f'<domain: "{MICROSOFT}", opset_import: ["": {call.opset}]>'
    signature = f"body ({', '.join(names.inputs)}) => ({', '.join(names.outputs)})"
    function = onnx.parser.parse_function(f"{header}\n{signature} {{\n {lines}\n}}")
    actual = dict(zip(names.inputs, node.input, strict=False)) | {
        formal: given for formal, given in zip(names.outputs, node.output, strict=False) if given
    }
    for place, part in enumerate(function.node):
        part.name = f"{prefix}/{part.op_type}_{place}"
        part.metadata_props.extend(node.metadata_props)
        for field in (part.input, part.output):
            field[:] = [actual.get(name, f"{prefix}.{name}") if name else "" for name in field]
    return list(function.node)
