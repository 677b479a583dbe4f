"""What onnx's version converter forgets: the coordinates of Upsample and Resize, an attribute of Pad."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

FIRST_WITH_COORDINATES = 11
"""The first opset in which Resize says how it computes coordinates; before, they are asymmetric."""


def fill_gaps(original: onnx.ModelProto, version: int, converted: onnx.ModelProto) -> None:
    """Say in ``converted`` what nodes of the ``original`` of opset ``version`` mean without saying it. In place."""
    if version >= FIRST_WITH_COORDINATES:
        return
    old = {n.output[0]: n for n in _nodes(original.graph) if n.op_type in ("Upsample", "Resize") and not n.domain}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    for node in _nodes(converted.graph):
        if node.op_type == "Resize" and node.output[0] in old:
            _keep_coordinates(node, old[node.output[0]], constants)
        elif node.op_type == "Pad":
            # Left over where the mode is not constant; later opsets have an operand instead.
            _drop(node, "value")


def _keep_coordinates(node: onnx.NodeProto, old: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> None:
    """The nearest pixel is the one below, or the one above where an axis of Resize shrinks, as in onnxruntime."""
    scales = constants.get(old.input[-1])
    shrinks = old.op_type == "Resize" and scales is not None and bool((scales < 1).any())
    for name, value in (
        ("coordinate_transformation_mode", "asymmetric"),
        ("nearest_mode", "ceil" if shrinks else "floor"),
    ):
        _drop(node, name)
        node.attribute.append(helper.make_attribute(name, value))


def _drop(node: onnx.NodeProto, name: str) -> None:
    others = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(others)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
