"""From the bytes' protobuf to a graph one can work on: checked, inlined, of one opset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend.convert import convert
from edgemtl.frontend.microsoft import MICROSOFT, rewrite_microsoft_moe
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, OPSET, attach_functions
from edgemtl.frontend.old_groups import expand_group_normalisations
from edgemtl.frontend.shapes import drop_late_windows
from edgemtl.frontend.task_input import specialise_tasks

STANDARD = ("", "ai.onnx")
OLDEST = 7
"""The first opset the converter knows well."""

OpId = tuple[str, str, str]


def prepare(proto: onnx.ModelProto, notes: list[str]) -> ir.Model:
    """The graph with functions inlined, a task input specialised away and MoE nodes of ours alone.

    Raises `UnsupportedError` for operators no one defines, `ModelError` for a graph out of order or an opset
    out of range.
    """
    functions = {(f.domain, f.name, f.overload) for f in proto.functions}
    _check_order(proto.graph)
    for body in (proto.graph.node, *(f.node for f in proto.functions)):
        _check_known(body, functions, _opset(proto))
    expand_group_normalisations(proto, _opset(proto), notes)
    onnx.checker.check_model(proto)
    proto = convert(_inline(proto), _opset(proto), notes)
    proto = drop_late_windows(specialise_tasks(proto, notes), _opset(proto))
    model = ir.from_proto(proto)
    RemoveInitializersFromInputsPass()(model)
    name_nodes(model.graph)
    rewrite_microsoft_moe(model, notes)
    attach_functions(model)
    return model


def _opset(proto: onnx.ModelProto) -> int:
    version = next((o.version for o in proto.opset_import if o.domain in STANDARD), 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= version <= newest:
        raise ModelError(
            f"the model's opset must be from {OLDEST} to {newest}, not {version}; export with opset {OPSET}"
        )
    return version


def _check_order(graph: onnx.GraphProto) -> None:
    """Every node reads what is there: no cycle, nothing missing."""
    made = {""} | {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name not in made:
                what = f"node {node.name or node.op_type} reads {name!r}"
                raise ModelError(f"{what} before any node made it; its graph must be in order and without cycles")
        made.update(node.output)


def _check_known(nodes: Iterable[onnx.NodeProto], functions: set[OpId], opset: int) -> None:
    for node in _with_inner(nodes):
        key = node.domain, node.op_type, node.overload
        standard = node.domain in STANDARD and onnx.defs.has(node.op_type, opset, "")
        known = standard or key in functions or (node.domain, node.op_type) in ((DOMAIN, OP_TYPE), (MICROSOFT, "MoE"))
        if known:
            continue
        name, where = (
            node.name or node.op_type,
            f"of domain {node.domain}" if node.domain else f"of opset {opset}",
        )
        reason = f"operator {node.op_type} {where} is unknown"
        raise UnsupportedError(f"node {name}", reason, f"export the model with standard operators of opset {OPSET}")


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _with_inner(graph.node)


def _inline(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without model-local functions; the bodies of our own MoE are put back later."""
    if not proto.functions:
        return proto
    model = ir.from_proto(proto)
    for key in [key for key in model.functions if key[:2] == (DOMAIN, OP_TYPE)]:
        del model.functions[key]
    InlinePass()(model)
    return ir.to_proto(model)


def name_nodes(graph: ir.Graph) -> None:
    """Every node a name of its own, kept through all that follows: errors and reports speak of it."""
    taken: set[str] = set()
    for index, node in enumerate(graph):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name += "_"
        taken.add(name)
        node.name = name
