"""Upsample and the Resize of opset 10, whose coordinates onnx's version converter does not carry over."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper, numpy_helper

FIRST_WITH_COORDINATES = 11
"""The first opset in which Resize says how it computes coordinates; before, they are asymmetric."""


def keep_coordinates(original: onnx.ModelProto, version: int, converted: onnx.ModelProto) -> None:
    """Say in ``converted`` what nodes of the ``original`` of opset ``version`` meant before there was an attribute.

    The nearest pixel is the one below, or the one above where an axis shrinks, as onnxruntime has it.
    """
    if version >= FIRST_WITH_COORDINATES:
        return
    old = {n.output[0]: n for n in _nodes(original.graph) if n.op_type in ("Upsample", "Resize") and not n.domain}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    for node in _nodes(converted.graph):
        if node.op_type == "Resize" and node.output[0] in old:
            scales = constants.get(old[node.output[0]].input[-1])
            shrinks = old[node.output[0]].op_type == "Resize" and scales is not None and bool((scales < 1).any())
            _set(node, "coordinate_transformation_mode", "asymmetric")
            _set(node, "nearest_mode", "ceil" if shrinks else "floor")


def _set(node: onnx.NodeProto, name: str, value: str) -> None:
    others = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute(name, value)])


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
