"""A form of an operator as a model: one node between an image and a float output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IMAGE = "image"
WIDEST = 1024
KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}


@dataclass(frozen=True)
class Computed:
    """An operand that is computed from the image: ``shape`` and dtype.

    special: every third element is infinite or NaN. bound: integers lie in 0 .. bound - 1. scale: of floats.
    positive: floats are 0 or larger. whole: floats are drawn as integers are.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    special: bool = False
    bound: int = 5
    scale: float = 1.0
    positive: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Form:
    """One node: its operator, opset, operands (computed, constant arrays, or None where left out) and attributes."""

    op: str
    opset: int
    operands: tuple[Computed | np.ndarray | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    output: int = 0
    label: str = ""
    tolerance: float = 2e-6

    @property
    def name(self) -> str:
        """A name that tells the form among others."""
        words = [f"{k}={v}" for k, v in self.attributes.items()]
        shapes = ["-" if o is None else "x".join(map(str, o.shape)) or "scalar" for o in self.operands]
        return f"{self.op}-{self.opset}({', '.join([*shapes, *words, *([self.label] if self.label else [])])})"

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """[1, 1, height, width], with room for all computed operands."""
        size = sum(math.prod(o.shape) for o in self.operands if isinstance(o, Computed))
        width = min(max(size, 1), WIDEST)
        return 1, 1, max(-(-size // width), 1), width


@dataclass
class _Builder:
    """Nodes and initializers of the model, in order."""

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", **attributes))
        return name


def model_of(form: Form) -> onnx.ModelProto:
    """The model; raises what onnx's checker raises for a form that the opset does not have."""
    builder = _Builder(form.opset)
    elements = builder.node("Reshape", IMAGE, builder.constant(np.array([-1], np.int64)))
    names, first = [], 0
    for operand in form.operands:
        if isinstance(operand, Computed):
            names.append(_computed(builder, elements, operand, first))
            first += math.prod(operand.shape)
        else:
            names.append("" if operand is None else builder.constant(operand))
    results = [f"y{i}" if i == form.output else f"unused{i}" for i in range(form.outputs)]
    builder.nodes.append(helper.make_node(form.op, names, results, name="operator", **form.attributes))
    flat = builder.node("Reshape", f"y{form.output}", builder.constant(np.array([1, -1], np.int64)))
    builder.nodes.append(helper.make_node("Cast", [flat], ["y"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        builder.nodes,
        "form",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, form.image_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        builder.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", form.opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _computed(builder: _Builder, elements: str, operand: Computed, first: int) -> str:
    size = math.prod(operand.shape)
    part = _slice(builder, elements, first, first + size)
    x = builder.node("Reshape", part, builder.constant(np.array(operand.shape, np.int64)))
    if operand.special:
        divisor = np.full(operand.shape[-1:], 0.5, np.float32)
        divisor[::3] = 0
        x = builder.node("Div", x, builder.constant(divisor))
    if operand.scale != 1:
        x = builder.node("Mul", x, builder.constant(np.float32(operand.scale)))
    if operand.positive:
        x = builder.node("Abs", x)
    if operand.dtype == "bool":
        return builder.node("Greater", x, builder.constant(np.float32(0)))
    if operand.dtype.startswith("int") or operand.whole:
        # Where float32's logistic is 1, the floor would be the bound itself.
        below = builder.constant(np.float32(operand.bound * (1 - 1e-5)))
        spread = builder.node("Mul", builder.node("Sigmoid", x), below)
        return builder.node("Cast", builder.node("Floor", spread), to=KINDS[operand.dtype])
    return x


def _slice(builder: _Builder, elements: str, begin: int, end: int) -> str:
    if builder.opset < 10:
        return builder.node("Slice", elements, axes=[0], starts=[begin], ends=[end])
    bounds = [builder.constant(np.array([v], np.int64)) for v in (begin, end, 0)]
    return builder.node("Slice", elements, *bounds)
