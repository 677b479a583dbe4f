"""When two nodes, of whichever graph, compute the same: by operator, attributes and inputs, never by name."""

from __future__ import annotations

from functools import cache
from itertools import count

import onnx
import onnx_ir as ir

from edgemtl.graph import STANDARD, is_op, is_static, main_input, result, shape_of
from edgemtl.partition.fold import RANDOM
from edgemtl.partition.share import ContentKeys

COMMUTATIVE = ("Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal")
"""Operators of two operands that give the same bits whichever comes first."""
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that are told by their result's shape, however they are given it."""
GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


class NodeKeys:
    """Keys of nodes whose equal inputs are the same objects already; equal keys mean the same bits."""

    def __init__(self, content: ContentKeys, opset: int) -> None:
        self._content, self._opset, self._unique = content, opset, count()

    def __call__(self, node: ir.Node) -> object:
        """Hashable; a node whose result is drawn at random, or that holds a graph, equals no other."""
        if node.op_type in RANDOM or any(given.type in GRAPHS for given in node.attributes.values()):
            return next(self._unique)
        if is_op(node, *RESHAPES) and is_static(result(node)):
            return "Reshape", main_input(node), shape_of(result(node))
        inputs = tuple(node.inputs)
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        if is_op(node, *COMMUTATIVE):
            inputs = tuple(sorted(inputs, key=id))
        outputs = tuple(bool(value.name) for value in node.outputs)
        return node.domain, node.op_type, node.overload, self._attributes(node), inputs, outputs

    def _attributes(self, node: ir.Node) -> frozenset[tuple[str, object]]:
        given = {name: self._attribute(attribute) for name, attribute in node.attributes.items()}
        defaults = _defaults(node.op_type, self._opset) if node.domain in STANDARD else {}
        return frozenset({**defaults, **given}.items())

    def _attribute(self, attribute: ir.Attr) -> object:
        if attribute.type == ir.AttributeType.TENSOR:
            return self._content(attribute.as_tensor())
        return str(attribute.value)


@cache
def _defaults(op: str, opset: int) -> dict[str, object]:
    """The attributes that a standard operator has where a node leaves them out."""
    if not onnx.defs.has(op, opset, ""):
        return {}
    attributes = onnx.defs.get_schema(op, opset, "").attributes
    protos = [formal.default_value for formal in attributes.values()]
    defaults = [ir.serde.deserialize_attribute(proto) for proto in protos if proto.type in _PLAIN]
    return {default.name: str(default.value) for default in defaults}


_PLAIN = (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT, onnx.AttributeProto.STRING, onnx.AttributeProto.INTS)
