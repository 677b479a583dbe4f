"""Questions asked of an onnx_ir graph, and small changes to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import TypeVar, cast

import numpy as np
import onnx
import onnx_ir as ir

from edgemtl.errors import InternalError
from edgemtl.operators import Array

STANDARD = ("", "ai.onnx")
"""The domain of ONNX's own operators, by both its names."""
FOREIGN_INPUTS = {
    ("edgemtl", "MoE"): ("x", "logits", "w1", "b1", "w2", "b2", "w3", "b3"),
    ("com.microsoft", "MoE"): (
        *("input", "router_probs", "fc1_experts_weights", "fc1_experts_bias"),
        *("fc2_experts_weights", "fc2_experts_bias", "fc3_experts_weights", "fc3_experts_bias"),
    ),
}
"""Names of the inputs of operators that ONNX does not define, by domain and operator."""


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The static shape of a value; constants whose shape was not recorded have that of their content."""
    assert value is not None
    if value.shape is not None:
        return tuple(int(size) for size in value.shape.numpy())
    array = array_of(value)
    assert array is not None, f"value {value.name} has no shape"
    return array.shape


def size_of(value: ir.Value) -> int:
    """Elements of a static value."""
    return math.prod(shape_of(value))


def is_static(value: ir.Value) -> bool:
    """Whether the shape is known and fixed."""
    return value.shape is not None and value.shape.is_static()


def is_constant(value: ir.Value) -> bool:
    """Whether the value is an initializer."""
    return value.const_value is not None and not value.is_graph_input()


def dtype_of(value: ir.Value) -> str:
    """The numpy name of a value's element type."""
    assert value.dtype is not None, f"value {value.name} has no element type"
    return value.dtype.numpy().name


def array_of(value: ir.Value | None) -> Array | None:
    """The contents of a constant value, or None for one that is computed or absent."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def scalar_of(value: ir.Value | None) -> float | None:
    """The number a one-element constant holds, else None."""
    array = array_of(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def ints_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """The integers a constant holds, else None."""
    array = array_of(value)
    return tuple(int(i) for i in array.reshape(-1)) if array is not None else None


@cache
def input_names(domain: str, op: str) -> tuple[str, ...]:
    """The names that an operator's definition gives its inputs, in order; a list of inputs without end has none.

    They are those of ONNX's newest opset, which from opset 20 on only adds names behind those of the opsets before.
    """
    if domain not in STANDARD:
        return FOREIGN_INPUTS.get((domain, op), ())
    if not onnx.defs.has(op):
        return ()
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    return tuple(formal.name for formal in onnx.defs.get_schema(op).inputs if formal.option != variadic)


def input_index(domain: str, op: str, name: str) -> int:
    """Where an operator has the input called `name`; `InternalError` for a name that it does not have."""
    names = input_names(domain, op)
    if name not in names:
        raise InternalError(f"an operand of {op} must be one of {', '.join(names) or 'none'}, not {name}")
    return names.index(name)


def operand(node: ir.Node, name: str) -> ir.Value | None:
    """The input that the operator's definition calls `name`, None where the node leaves it out.

    Raises `InternalError` for a name that the operator does not have.
    """
    index = input_index(node.domain, node.op_type, name)
    return node.inputs[index] if index < len(node.inputs) else None


def replace_operand(node: ir.Node, name: str, value: ir.Value) -> None:
    """Let the node read `value` as the input called `name`, which it may have left out so far."""
    index = input_index(node.domain, node.op_type, name)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def main_input(node: ir.Node) -> ir.Value | None:
    """The value an operator works on, its first input, which ONNX calls data, input or X; None where there is none."""
    return next(iter(node.inputs), None)


def result(node: ir.Node) -> ir.Value:
    """What a node computes: its only output, or the one in front of those that operators have besides."""
    return next(iter(node.outputs))


Attribute = TypeVar("Attribute", int, float, str, tuple[int, ...])


def attribute(node: ir.Node, name: str, default: Attribute) -> Attribute:
    """An attribute's value (strings as str, lists as tuples), or its default."""
    given = node.attributes.get(name)
    if given is None:
        return default
    return cast(Attribute, tuple(given.value) if isinstance(given.value, (list, tuple)) else given.value)


def is_op(node: ir.Node | None, *ops: str) -> bool:
    """Whether a node is one of these standard operators."""
    return node is not None and node.domain in STANDARD and node.op_type in ops


def producer(value: ir.Value | None, *ops: str) -> ir.Node | None:
    """The node that computes a value, if it is one of these standard operators (any node where none is
    named).
    """
    node = value.producer() if value is not None else None
    return node if not ops or is_op(node, *ops) else None


def is_private(value: ir.Value) -> bool:
    """Whether one node alone reads the value and the graph does not return it: fusion may swallow it."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def private_producer(value: ir.Value | None, *ops: str) -> ir.Node | None:
    """The producer of a value that may vanish, if it is one of these operators."""
    return producer(value, *ops) if value is not None and is_private(value) else None


def name_of(node: ir.Node) -> str:
    """What a user finds the node under: its name, or its first output's where it has none."""
    return node.name or f"{node.op_type}->{result(node).name}"


def computed_inputs(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs that are not constants."""
    return (v for v in node.inputs if v is not None and v.const_value is None)


def constant_operand(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """(constant, other) of a binary node with exactly one constant operand, else None."""
    left, right = node.inputs
    if left is None or right is None or (array_of(left) is None) == (array_of(right) is None):
        return None
    return (left, right) if array_of(left) is not None else (right, left)


def addends(node: ir.Node) -> list[tuple[ir.Value, ir.Value]]:
    """(one, other) both ways round, of an Add of two computed values of one shape; none for other nodes."""
    left, right = node.inputs if is_op(node, "Add") else (None, None)
    if left is None or right is None or array_of(left) is not None or array_of(right) is not None:
        return []
    return [(left, right), (right, left)] if shape_of(left) == shape_of(right) else []


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new initializer; the name is extended where it is taken."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def make_contiguous(graph: ir.Graph) -> None:
    """Lay every initializer out row by row; a folded transpose is a view, and some passes read bytes."""
    for value in graph.initializers.values():
        array = array_of(value)
        if array is not None and not array.flags.c_contiguous:
            value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let all who read `old` read `new`; an output of the graph keeps its name."""
    if old.is_graph_output():
        old.name, new.name = f"{old.name}.replaced", old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
