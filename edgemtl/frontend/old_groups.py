"""GroupNormalization of opsets 18 to 20, which ONNX has withdrawn: it scales groups, not channels."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

FIRST, LAST = 18, 20


def expand_group_normalisations(proto: onnx.ModelProto, version: int, notes: list[str]) -> None:
    """Write it as InstanceNormalization of the groups, which is the same. In place."""
    found = [n for n in proto.graph.node if n.op_type == "GroupNormalization" and n.domain in ("", "ai.onnx")]
    if not FIRST <= version <= LAST or not found:
        return
    nodes = [new for node in proto.graph.node for new in (_expanded(proto, node) if node in found else [node])]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    notes.append(f"GroupNormalization of opset {version} has a scale per group; later opsets have one per channel")


def _expanded(proto: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    own = f"{node.name or 'GroupNormalization'}/{node.output[0]}"
    sizes = np.array([0, int(attributes["num_groups"]), -1], np.int64)
    proto.graph.initializer.append(numpy_helper.from_array(sizes, f"{own}.groups"))
    epsilon = float(attributes.get("epsilon", 1e-5))
    x, scale, bias = node.input
    return [
        helper.make_node("Shape", [x], [f"{own}.shape"], name=f"{own}/Shape"),
        helper.make_node("Reshape", [x, f"{own}.groups"], [f"{own}.split"], name=f"{own}/Split"),
        helper.make_node(
            "InstanceNormalization",
            [f"{own}.split", scale, bias],
            [f"{own}.normalised"],
            name=node.name or own,
            epsilon=epsilon,
        ),
        helper.make_node("Reshape", [f"{own}.normalised", f"{own}.shape"], list(node.output), name=f"{own}/Join"),
    ]
