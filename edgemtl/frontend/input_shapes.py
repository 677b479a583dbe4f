"""Sizes that a user gives to open axes of inputs, set before anything follows from them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgemtl.errors import UsageError
from edgemtl.frontend.passes import Notes
from edgemtl.suggest import one_of

Shapes = Mapping[str, tuple[int, ...]]


def set_input_shapes(proto: onnx.ModelProto, shapes: Shapes) -> Notes:
    """Set the open axes of inputs to ``shapes`` by name, and every axis of the same name in other inputs. In place.

    Raises UsageError for an input there is not, for a shape of another rank, and for one that differs in an axis that
    the model fixes.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = {value.name: value for value in proto.graph.input if value.name not in constants}
    named: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise UsageError(one_of("NAME of --shape NAME=SIZES", inputs, name))
        named |= _set_shape(inputs[name], shape)
    for value in inputs.values():
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]
    if shapes:
        _forget_shapes(proto.graph)
    return tuple(f"input {name}: shape {list(shape)} as given" for name, shape in shapes.items())


def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> dict[str, int]:
    """Set an input's open axes; the sizes by the names that these axes had."""
    kind, text = value.type.tensor_type, "x".join(map(str, shape))
    if not kind.HasField("shape"):
        for _ in shape:
            kind.shape.dim.add()
    if len(kind.shape.dim) != len(shape):
        rank = len(kind.shape.dim)
        raise UsageError(f"--shape {value.name} must have {rank} sizes, as the model's input has axes, not {text}")
    named: dict[str, int] = {}
    for axis, (dim, size) in enumerate(zip(kind.shape.dim, shape, strict=True)):
        if dim.dim_value > 0 and dim.dim_value != size:
            raise UsageError(
                f"--shape {value.name} must have {dim.dim_value} at axis {axis}, which the model fixes, not {size}"
            )
        if dim.dim_param and named.setdefault(dim.dim_param, size) != size:
            raise UsageError(f"--shape {value.name} must have one size for all axes {dim.dim_param}, not {text}")
        dim.dim_value = size
    return named


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Drop what the file says of results: it was said of open sizes."""
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
