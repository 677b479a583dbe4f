"""What ONNX demands of nodes: rules of shape inference, whose failures are silent elsewhere, and what those omit."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError, infer_node_outputs

from edgemtl.errors import ModelError
from edgemtl.graph import attribute, is_static, main_input, operand, result, shape_of, size_of

SAME_SIZE = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Operators whose result has the elements of their first operand."""


BY_ELEMENT = ("GatherElements", "ScatterElements")
MAX_KNOWN = 1 << 10
"""Elements of constants that a rule may look at: shapes, axes, pads."""


def check_consistency(model: ir.Model) -> None:
    """Raise ModelError for the first node that contradicts its operands; shapes are known."""
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    for node in model.graph:
        if node.domain == "" and not any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
            _check_rule(node, model.opset_imports[""], imports)
        source = main_input(node) if node.domain == "" else None
        if source is None or not is_static(source):
            continue
        if node.op_type == "Transpose" and "perm" in node.attributes:
            _check_order(node, len(shape_of(source)))
        if node.op_type in BY_ELEMENT:
            _check_indices(node, len(shape_of(source)))
        if node.op_type in SAME_SIZE:
            _check_size(node, source)
        if node.op_type in ("Conv", "ConvTranspose"):
            _check_bias(node)
            _check_kernel(node, shape_of(source))


def _check_rule(node: ir.Node, version: int, imports: Sequence[onnx.OperatorSetIdProto]) -> None:
    """Where a rule fails the shape that the file records would stand."""
    schema = onnx.defs.get_schema(node.op_type, version, "")
    sources = {str(value.name): value for value in node.inputs if value is not None}
    types = {name: ir.to_proto(value).type for name, value in sources.items()}
    constants = {name: v.const_value for name, v in sources.items() if v.const_value is not None}
    known = {name: ir.to_proto(tensor) for name, tensor in constants.items() if tensor.size <= MAX_KNOWN}
    try:
        infer_node_outputs(schema, ir.to_proto(node), types, known, opset_imports=[*imports])
    except InferenceError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"node {node.name} must be valid by ONNX's rules, and is not: {reason}") from None


def _check_indices(node: ir.Node, rank: int) -> None:
    _, *values = node.inputs
    shapes = [list(shape_of(value)) for value in values if value is not None and is_static(value)]
    if any(len(shape) != rank or shape != shapes[0] for shape in shapes):
        text = f"indices and updates must be of one shape of rank {rank}, not {' and '.join(map(str, shapes))}"
        raise ModelError(f"node {node.name}: {text}")


def _check_order(node: ir.Node, rank: int) -> None:
    perm = list(attribute(node, "perm", ()))
    if sorted(perm) != [*range(rank)]:
        raise ModelError(f"node {node.name}: perm must order the {rank} axes of its input, not be {perm}")


def _check_size(node: ir.Node, source: ir.Value) -> None:
    output = result(node)
    if size_of(source) != size_of(output):
        shapes = f"the {size_of(source)} elements of its input {list(shape_of(source))}, not {list(shape_of(output))}"
        raise ModelError(f"the output of node {node.name} must have {shapes}; check the model's sizes")


def _check_bias(node: ir.Node) -> None:
    bias = operand(node, "B")
    channels = shape_of(result(node))[1]
    if bias is not None and is_static(bias) and shape_of(bias) != (channels,):
        raise ModelError(f"node {node.name}: its bias must be of shape [{channels}], not {list(shape_of(bias))}")


def _check_kernel(node: ir.Node, shape: tuple[int, ...]) -> None:
    weight = operand(node, "W")
    if weight is None or not is_static(weight):
        return
    sizes = [*shape_of(weight)[2:]]
    kernel = list(attribute(node, "kernel_shape", tuple(sizes)))
    if kernel != sizes:
        raise ModelError(f"node {node.name}: kernel_shape must be that of its weights, {sizes}, not {kernel}")
    if node.op_type == "Conv" and "pads" in node.attributes:
        pads = attribute(node, "pads", (0,) * 2 * len(kernel))
        dilations = attribute(node, "dilations", (1,) * len(kernel))
        window = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        padded = [n + pads[i] + pads[i + len(kernel)] for i, n in enumerate(shape[2:])]
        if any(span > size for span, size in zip(window, padded, strict=True)):
            raise ModelError(f"node {node.name}: its window {window} must fit into its padded input {padded}")
