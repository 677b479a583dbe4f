"""Logits of a window of experts, computed as such: the gate's weights are cut, not its result."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.graph import add_constant, array_of, is_op, is_private, operand, replace_operand, result, shape_of
from edgemtl.operators import Array


def narrow(graph: ir.Graph, logits: ir.Value, first: int, size: int) -> ir.Value:
    """Columns [first, first + size) of the logits [.., E], as a Slice would give them.

    Goes up through sums, products and reshapes to the gate's matrix product and cuts its weights there; what
    it cannot look through gets a Slice. In place.
    """
    node, columns = logits.producer(), slice(first, first + size)
    if node is not None and is_private(logits):
        if is_op(node, "MatMul", "Gemm") and _cut_product(graph, node, columns):
            return _resized(logits, size)
        if is_op(node, "Add", "Sub", "Mul", "Div") and _cut_sum(graph, node, columns):
            return _resized(logits, size)
        if is_op(node, "Reshape") and _cut_reshape(graph, node, columns):
            return _resized(logits, size)
    return _sliced(graph, logits, columns)


def _resized(value: ir.Value, size: int) -> ir.Value:
    value.shape = ir.Shape((*shape_of(value)[:-1], size))
    return value


def _cut_product(graph: ir.Graph, node: ir.Node, columns: slice) -> bool:
    weight = array_of(operand(node, "B"))
    bias = operand(node, "C") if is_op(node, "Gemm") else None
    if weight is None or weight.ndim != 2 or (bias is not None and array_of(bias) is None):
        return False
    rows_are_outputs = node.attributes.get_int("transB", 0) == 1
    _replace(graph, node, "B", weight[columns] if rows_are_outputs else weight[:, columns])
    shift = array_of(bias)
    if shift is not None and shift.ndim and shift.shape[-1] > 1:
        _replace(graph, node, "C", shift[..., columns])
    return True


def _cut_sum(graph: ir.Graph, node: ir.Node, columns: slice) -> bool:
    width = shape_of(result(node))[-1]
    sides = [value for value in node.inputs if value is not None]
    computed = [value for value in sides if array_of(value) is None and _width(value) == width]
    if len(computed) != 1 or any(array_of(v) is None and v not in computed for v in sides):
        return False
    for name, value in zip("AB", sides, strict=True):
        array = array_of(value)
        if array is None:
            part = narrow(graph, value, columns.start, columns.stop - columns.start)
            replace_operand(node, name, part)
        elif _width(value) == width:
            _replace(graph, node, name, array[..., columns])
    return True


def _cut_reshape(graph: ir.Graph, node: ir.Node, columns: slice) -> bool:
    source, shape = operand(node, "data"), shape_of(result(node))
    if source is None or array_of(source) is not None or _width(source) != shape[-1]:
        return False
    size = columns.stop - columns.start
    replace_operand(node, "data", narrow(graph, source, columns.start, size))
    _replace(graph, node, "shape", np.array([*shape[:-1], size], np.int64))
    return True


def _width(value: ir.Value) -> int:
    shape = shape_of(value)
    return shape[-1] if shape else 1


def _replace(graph: ir.Graph, node: ir.Node, name: str, array: Array) -> None:
    old = operand(node, name)
    assert old is not None
    replace_operand(node, name, add_constant(graph, f"{old.name}.window", array))


def _sliced(graph: ir.Graph, logits: ir.Value, columns: slice) -> ir.Value:
    name = str(logits.name)
    bounds = {"first": columns.start, "last": columns.stop, "axis": -1}
    inputs = [add_constant(graph, f"{name}.{k}", np.array([v], np.int64)) for k, v in bounds.items()]
    out = ir.Value(name=f"{name}.window", shape=logits.shape, type=logits.type)
    node = ir.Node("", "Slice", [logits, *inputs], outputs=[out], name=f"{name}/Slice")
    anchor = logits.producer()
    if anchor is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(anchor, node)
    return _resized(out, columns.stop - columns.start)
