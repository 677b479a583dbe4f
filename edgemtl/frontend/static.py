"""Every value has a type and a fixed shape of bearable size."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend.files import MAX_ELEMENTS
from edgemtl.graph import attribute, is_constant, is_op, is_static, main_input, producer, shape_of, size_of

DTYPES = (ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)
MOVES = (
    *("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that only move values: what they may do to bytes, beside a cast to another type."""
MOST_CLASSES = 256
"""Classes that a byte tells apart."""
HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def check_static(model: ir.Model) -> None:
    """`UnsupportedError` for the first node whose result has no fixed shape or a type that is not compiled."""
    for value in model.graph.initializers.values():
        _check_dtype(f"initializer {value.name}", value)
    for value in model.graph.outputs:
        maker = value.producer()
        if maker is None or all(source is None or is_constant(source) for source in maker.inputs):
            reason = "it does not depend on an input"
            raise UnsupportedError(f"output {value.name}", reason, "remove it from the exported model")
    for node in model.graph:
        for value in node.outputs:
            if not (value.dtype == ir.DataType.UINT8 and (is_op(node, *MOVES) or _is_class_map(node, value))):
                _check_dtype(f"node {node.name}", value)
            _check_shape(node, value)


def _is_class_map(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node casts the indices of at most 256 classes to the bytes that an output is."""
    choice = producer(main_input(node), "ArgMax", "ArgMin") if is_op(node, "Cast") else None
    classes = main_input(choice) if choice is not None else None
    if choice is None or classes is None or not value.is_graph_output() or not is_static(classes):
        return False
    return shape_of(classes)[attribute(choice, "axis", 0)] <= MOST_CLASSES


def _check_dtype(where: str, value: ir.Value) -> None:
    if value.dtype in DTYPES:
        return
    if value.dtype is None:
        raise UnsupportedError(where, "ONNX cannot infer the type of its output", "check its inputs and attributes")
    names = ", ".join(str(dtype).lower() for dtype in DTYPES)
    reason = f"its type is {str(value.dtype).lower()}, and {names} are compiled"
    wrong_float = value.dtype in HALVES
    hint = "export the model in float32" if wrong_float else "export the model before it is quantised"
    if value.dtype == ir.DataType.UINT8:
        hint += f"; only an output can be uint8, as a cast of what ArgMax gives over at most {MOST_CLASSES} classes"
    raise UnsupportedError(where, reason, hint)


def _check_shape(node: ir.Node, value: ir.Value) -> None:
    if not is_static(value):
        reason = f"the shape of its output is not fixed ({value.shape or 'unknown'})"
        raise UnsupportedError(
            f"node {node.name}", reason, "export the model with fixed sizes and without data-dependent ones"
        )
    sizes = shape_of(value)
    if min(sizes, default=1) < 1 or size_of(value) > MAX_ELEMENTS:
        rule = f"from 1 to {MAX_ELEMENTS} elements"
        raise ModelError(
            f"the output of node {node.name} must have {rule}, not shape {list(sizes)}; check the model's sizes"
        )
