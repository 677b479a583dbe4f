"""What ONNX's version converter forgets, put right in its result."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def repair(converted: onnx.ModelProto, original: onnx.ModelProto, version: int) -> None:
    """Give converted nodes the meaning they had in opset `version`. In place.

    Before opset 11 a Resize or Upsample maps pixels without half-pixel centres, and Pad had its value as an attribute.
    Before opset 13 Hardmax takes all axes from its own to the last as one.
    """
    old = {node.output[0]: node for node in original.graph.node if node.output}
    constants = {tensor.name: tensor for tensor in converted.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in converted.graph.node:
        before = old.get(node.output[0]) if node.output else None
        if node.op_type == "Resize" and version < 11:
            _set(node, coordinate_transformation_mode="asymmetric", nearest_mode=_nearest(node, constants))
        if node.op_type == "Pad":
            _keep(node, "mode")
        joined = node.op_type == "Hardmax" and version < 13
        nodes += _hardmax(node, before) if joined and before is not None else [node]
    del converted.graph.node[:]
    converted.graph.node.extend(nodes)


def _set(node: onnx.NodeProto, **attributes: str) -> None:
    others = [attribute for attribute in node.attribute if attribute.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*others, *(onnx.helper.make_attribute(name, value) for name, value in attributes.items())])


def _keep(node: onnx.NodeProto, name: str) -> None:
    attributes = [attribute for attribute in node.attribute if attribute.name == name]
    del node.attribute[:]
    node.attribute.extend(attributes)


def _nearest(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> str:
    """Which neighbour counted: the next one where pixels get fewer, the last one otherwise."""
    scales = constants.get(node.input[2]) if len(node.input) > 2 else None
    fewer = scales is not None and bool((onnx.numpy_helper.to_array(scales) < 1).any())
    return "ceil" if fewer else "floor"


def _hardmax(node: onnx.NodeProto, before: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    axis = next((a.i for a in before.attribute if a.name == "axis"), 1)
    (x,), (y,) = node.input, node.output
    names = [f"{y}.{part}" for part in ("shape", "matrix", "hardmax")]
    yield onnx.helper.make_node("Shape", [x], names[:1], name=f"{node.name}/Shape")
    yield onnx.helper.make_node("Flatten", [x], names[1:2], axis=axis, name=f"{node.name}/Flatten")
    yield onnx.helper.make_node("Hardmax", names[1:2], names[2:], axis=-1, name=node.name)
    yield onnx.helper.make_node("Reshape", [names[2], names[0]], [y], name=f"{node.name}/Reshape")
