"""Small questions about values of a graph."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir


def is_constant(value: ir.Value) -> bool:
    """Whether the value is an initializer."""
    return value.const_value is not None and not value.is_graph_input()


def array_of(value: ir.Value | None) -> np.ndarray | None:
    """The data of an initializer, None for any other value."""
    return value.const_value.numpy() if value is not None and value.const_value is not None else None


def is_static(value: ir.Value) -> bool:
    """Whether the shape is known and fixed."""
    return value.shape is not None and value.shape.is_static()


def sizes_of(value: ir.Value) -> tuple[int, ...]:
    """The sizes of a static value."""
    assert value.shape is not None
    return tuple(int(size) for size in value.shape.numpy())


def size_of(value: ir.Value) -> int:
    """Elements of a static value."""
    return math.prod(sizes_of(value))


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
