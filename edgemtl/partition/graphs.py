"""Reading and rewriting constants of an onnx_ir graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]


def array_of(value: ir.Value | None) -> Array | None:
    """The content of a constant; None for a value that is computed, fed or left out."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The static shape of a value; constants whose shape was not recorded have that of their content."""
    assert value is not None
    if value.shape is not None:
        return tuple(int(d) for d in value.shape.numpy())
    array = array_of(value)
    assert array is not None, f"value {value.name} has no shape"
    return array.shape


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An input of a node, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def is_op(node: ir.Node | None, *ops: str) -> bool:
    """Whether a node is one of these standard operators."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in ops


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new initializer; the name is extended where it is taken."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def is_private(value: ir.Value) -> bool:
    """Whether one node reads the value and nothing else does."""
    return len(value.uses()) == 1 and not value.is_graph_output()
