"""Shapes that ONNX's shape inference gets wrong or does not know."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx import helper

from edgemtl.graph import array_of, operand, result

POOLS = ("MaxPool", "AveragePool", "LpPool")
FIRST_RIGHT = 22
"""The first opset in which ONNX's shape inference knows that no window starts in the padding at the end."""


def drop_late_windows(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Pooling with ceil_mode whose last window would start in the padding rounds down instead, as it computes."""
    while version < FIRST_RIGHT and any(_rounds_up(node) for node in proto.graph.node):
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
        values = (*inferred.value_info, *inferred.input)
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        changes = ((node, _floored(node, shapes.get(node.input[0], []))) for node in proto.graph.node)
        change = next(((node, pads) for node, pads in changes if pads is not None), None)
        if change is None:
            break
        _set_pads(change[0], change[1])
        # Behind it all shapes change.
        del proto.graph.value_info[:]
    return proto


def _rounds_up(node: onnx.NodeProto) -> bool:
    attributes = _attributes(node)
    return node.op_type in POOLS and bool(attributes.get("ceil_mode")) and "kernel_shape" in attributes


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _floored(node: onnx.NodeProto, shape: list[int]) -> list[int] | None:
    """Pads with which the node computes the same rounding down; None where it needs no change, or has no such pads."""
    attributes = _attributes(node) if _rounds_up(node) else {}
    rank = len(shape) - 2
    if not attributes or rank < 1 or min(shape[2:]) < 1 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    kernel, ones, zeros = attributes["kernel_shape"], [1] * rank, [0] * (2 * rank)
    pads = _integers(attributes.get("pads", zeros))
    strides, dilations = _integers(attributes.get("strides", ones)), _integers(attributes.get("dilations", ones))
    spans = [(k - 1) * d + 1 for k, d in zip(_integers(kernel), dilations, strict=True)]
    ends, is_late = list(pads), False
    for i, (n, s, span) in enumerate(zip(shape[2:], strides, spans, strict=True)):
        last = -(-(n + pads[i] + pads[rank + i] - span) // s)
        if last * s >= n + pads[i]:
            is_late = True
        else:
            ends[rank + i] = max(pads[rank + i], last * s + span - n - pads[i])
    counts_more = ends != pads and bool(attributes.get("count_include_pad"))
    return ends if is_late and not counts_more else None


def _integers(values: object) -> list[int]:
    assert isinstance(values, Sequence)
    return [int(v) for v in values]


def _set_pads(node: onnx.NodeProto, pads: list[int]) -> None:
    others = [attribute for attribute in node.attribute if attribute.name not in ("ceil_mode", "pads")]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute("pads", pads)])


def set_unpooled_shapes(graph: ir.Graph) -> None:
    """MaxUnpool has the shape that a constant operand gives it."""
    for node in graph:
        sizes = array_of(operand(node, "output_shape")) if node.op_type == "MaxUnpool" else None
        if sizes is not None:
            result(node).shape = ir.Shape([int(n) for n in sizes.reshape(-1)])
