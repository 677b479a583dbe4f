"""What runtimes take and ONNX's checker does not: the standard domain named, outputs without a type, outputs twice."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from edgemtl.frontend.passes import Notes

STANDARD = "ai.onnx"
"""The standard domain's other name."""


def normalise_spelling(proto: onnx.ModelProto) -> Notes:
    """Write the standard domain as the empty string, and list every output once. In place.

    Opset 10 renamed Upsample to Resize; some exporters did not.
    """
    notes = _drop_repeated_outputs(proto.graph)
    for holder, nodes in ((proto, proto.graph.node), *((f, f.node) for f in proto.functions)):
        _rename_nodes(nodes)
        _rename_imports(holder)
    if ("", 10) in [(entry.domain, entry.version) for entry in proto.opset_import]:
        for node in proto.graph.node:
            node.op_type = "Resize" if (node.domain, node.op_type) == ("", "Upsample") else node.op_type
    return notes


def _drop_repeated_outputs(graph: onnx.GraphProto) -> Notes:
    listed: set[str] = set()
    for index, name in reversed(list(enumerate([value.name for value in graph.output]))):
        if name in [value.name for value in graph.output[:index]]:
            del graph.output[index]
            listed.add(name)
    return tuple(f"output {name}: listed more than once, kept once" for name in sorted(listed))


def _rename_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        if node.domain == STANDARD:
            node.domain = ""
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                _rename_nodes(graph.node)


def _rename_imports(holder: onnx.ModelProto | onnx.FunctionProto) -> None:
    """A version of each domain once: the first, as runtimes read it."""
    versions: dict[str, int] = {}
    for entry in holder.opset_import:
        versions.setdefault("" if entry.domain == STANDARD else entry.domain, entry.version)
    del holder.opset_import[:]
    holder.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())


def check_form(proto: onnx.ModelProto) -> None:
    """ONNX's own check, which asks for the type and shape of every output; without them they are inferred later.

    Raises `onnx.checker.ValidationError`.
    """
    given = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in proto.graph.output]
    for value in proto.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, []))
    try:
        onnx.checker.check_model(proto)
    finally:
        for value, original in zip(proto.graph.output, given, strict=True):
            value.CopyFrom(original)
