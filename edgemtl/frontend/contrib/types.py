"""Types and shapes of values, inferred node by node."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

MAX_DATA = 64
"""Elements of a constant that shapes can follow from."""


class TypeTable:
    """What is known of a model's values so far. known: by name.  opset: that of the standard operators."""

    def __init__(self, proto: onnx.ModelProto, opset: int) -> None:
        self.known: dict[str, onnx.TypeProto] = {}
        self._data: dict[str, onnx.TensorProto] = {}
        self.opset = opset
        self._imports = [entry for entry in proto.opset_import if entry.domain == ""]
        self._ir_version = proto.ir_version

    def enter(self, graph: onnx.GraphProto) -> None:
        """Take what a graph records of its values."""
        for value in (*graph.value_info, *graph.input):
            if value.type.tensor_type.HasField("shape"):
                self.known[value.name] = value.type
        for tensor in graph.initializer:
            self._add_tensor(tensor.name, tensor)

    def _add_tensor(self, name: str, tensor: onnx.TensorProto) -> None:
        self.known[name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        if tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) < 2 and sum(tensor.dims) <= MAX_DATA:
            self._data[name] = tensor

    def infer(self, node: onnx.NodeProto) -> None:
        """Add the types of a node's outputs, as far as ONNX tells."""
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            self._add_tensor(node.output[0], node.attribute[0].t)
        elif node.domain == "" and onnx.defs.has(node.op_type, self.opset, ""):
            schema = onnx.defs.get_schema(node.op_type, self.opset, "")
            for name, kind in self._outputs(schema, node).items():
                if kind.tensor_type.HasField("shape"):
                    self.known[name] = kind

    def _outputs(self, schema: onnx.defs.OpSchema, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        types, data = self._of(node.input)
        imports, version = self._imports, self._ir_version
        try:
            outputs: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=imports, ir_version=version
            )
        # ONNX has no type, or finds fault with the node: later checks say so.
        except Exception:
            return {}
        return outputs

    def _of(self, names: Iterable[str]) -> tuple[dict[str, onnx.TypeProto], dict[str, onnx.TensorProto]]:
        given = [name for name in names if name]
        types = {name: self.known[name] for name in given if name in self.known}
        return types, {name: self._data[name] for name in given if name in self._data}
