"""Passes from a file's protobuf to a graph one can work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx.inliner
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend.contrib import CONTRIBUTED_HINT, is_contributed
from edgemtl.frontend.microsoft import MICROSOFT
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, OPSET

OLDEST = 7
"""The first opset the converter knows well."""

LAYOUTS = ("com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Domains that onnxruntime uses in models optimised for the processor it runs on."""
UNKNOWN_HINT = f"export the model with standard operators of opset {OPSET}"
LAYOUT_HINT = "save the optimised model with ORT_ENABLE_EXTENDED at most, or export it before onnxruntime optimises it"
INLINED = "_inlfunc_"
"""How onnxruntime begins the names of what it inlines; a second time they would collide."""

BY_ONNX = ("Attention", "CastLike", "CenterCropPad", "SwiGLU")
"""Operators of the standard that are expanded by the function that the standard defines them with."""

OpId = tuple[str, str, str]


def import_graph(proto: onnx.ModelProto) -> ir.Model:
    """The graph of a model in order; every node has a name of its own, which errors and reports speak of."""
    model = ir.from_proto(proto)
    RemoveInitializersFromInputsPass()(model)
    _rename_inlined(model.graph)
    _name_nodes(model.graph)
    return model


def _rename_inlined(graph: ir.Graph) -> None:
    for value in [*graph.initializers.values(), *(output for node in graph for output in node.outputs)]:
        name = value.name or ""
        if name.startswith(INLINED) and not value.is_graph_output():
            value.name = name.removeprefix(INLINED) + ".inlined"


def read_opset(proto: onnx.ModelProto) -> int:
    """The version of the standard operators; `ModelError` for one out of range."""
    version = next((o.version for o in proto.opset_import if o.domain == ""), 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= version <= newest:
        raise ModelError(
            f"the model's opset must be from {OLDEST} to {newest}, not {version}; export with opset {OPSET}"
        )
    return version


def check_order(graph: onnx.GraphProto) -> None:
    """`ModelError` for a node that reads what is not there: in a cycle, or missing."""
    known = {""} | {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name not in known:
                what = f"node {node.name or node.op_type} reads {name!r}"
                raise ModelError(f"{what} before any node made it; its graph must be in order and without cycles")
        known.update(node.output)


def check_known(proto: onnx.ModelProto, opset: int) -> None:
    """`UnsupportedError` for an operator that neither ONNX, nor the model, nor an expansion defines."""
    functions = {(f.domain, f.name, f.overload) for f in proto.functions}
    for body in (proto.graph.node, *(f.node for f in proto.functions)):
        _check_known(body, functions, opset)


def _check_known(nodes: Iterable[onnx.NodeProto], functions: set[OpId], opset: int) -> None:
    for node in _with_inner(nodes):
        key = node.domain, node.op_type, node.overload
        standard = node.domain == "" and onnx.defs.has(node.op_type, opset, "")
        named = (node.domain, node.op_type) in ((DOMAIN, OP_TYPE), (MICROSOFT, "MoE"))
        if standard or named or key in functions or is_contributed(node):
            continue
        raise _unknown(node, opset)


def _unknown(node: onnx.NodeProto, opset: int) -> UnsupportedError:
    where, hint = f"of domain {node.domain}" if node.domain else f"of opset {opset}", UNKNOWN_HINT
    reason = f"operator {node.op_type} {where} is unknown"
    if node.domain == MICROSOFT:
        reason, hint = f"operator {node.op_type} {where} has no expansion to standard operators", CONTRIBUTED_HINT
    if node.domain in LAYOUTS:
        reason, hint = f"operator {node.op_type} {where} is for the layout of one processor", LAYOUT_HINT
    return UnsupportedError(f"node {node.name or node.op_type}", reason, hint)


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _with_inner(graph.node)


def inline(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without model-local functions; the bodies of our own MoE are put back later."""
    if not proto.functions:
        return proto
    model = ir.from_proto(proto)
    for key in [key for key in model.functions if key[:2] == (DOMAIN, OP_TYPE)]:
        del model.functions[key]
    InlinePass()(model)
    return ir.to_proto(model)


def expand_by_onnx(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With operators that nothing of ours defines written out as ONNX itself does."""
    if not any(node.op_type in BY_ONNX for node in _with_inner(proto.graph.node)):
        return proto
    # The inliner asks for the type of every operand, of constants too.
    known = {value.name for value in (*proto.graph.value_info, *proto.graph.input)}
    constants = [tensor for tensor in proto.graph.initializer if tensor.name not in known]
    make = onnx.helper.make_tensor_value_info
    proto.graph.value_info.extend(make(tensor.name, tensor.data_type, tensor.dims) for tensor in constants)
    selected = [("", op) for op in BY_ONNX]
    typed = onnx.shape_inference.infer_shapes(proto)
    return onnx.inliner.inline_selected_functions(typed, selected, inline_schema_functions=True)


def _name_nodes(graph: ir.Graph) -> None:
    taken: set[str] = set()
    for index, node in enumerate(graph):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name += "_"
        taken.add(name)
        node.name = name
