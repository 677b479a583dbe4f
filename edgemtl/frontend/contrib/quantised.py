"""Quantised values as float32: what QuantizeLinear rounds to, written out in operators of float32.

A QuantizeLinear becomes Div, Round, Clip and Mul: the real value that its integers stand for. The DequantizeLinear that
reads these integers, behind operators that only move them, then has nothing left to do. Quantised constants are folded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx

from edgemtl.errors import UnsupportedError
from edgemtl.frontend.contrib.call import Call, constant, formals
from edgemtl.frontend.contrib.expand import expand_where

MOVING = (
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators that move or choose integers of their first operand and do not change them."""
FORMALS = formals("X scale zero", "Y")
TYPES = (np.int8, np.uint8, np.int16, np.uint16)
HINT = "quantise the model with one constant scale and zero point per activation, or export it before it is quantised"


@dataclass(frozen=True)
class Grid:
    """The values (q - zero) scale of integers q from low to high."""

    scale: float
    zero: int
    low: int
    high: int


def expand_quantised(proto: onnx.ModelProto, opset: int) -> None:
    """Write out what quantises computed values, and drop what dequantises them. In place.

    Raises UnsupportedError for a node that quantises in another way than by one constant scale and zero point of 8 or
    16 bits, and for an operator that computes with the integers.
    """
    scan = _Scan({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer})
    for node in proto.graph.node:
        scan.visit(node)
    for value in proto.graph.output:
        if value.name in scan.grids:
            raise UnsupportedError(value.name, "an output must be float32, and the model leaves it quantised", HINT)
    if not scan.rounded and not scan.real:
        return

    def expansion(node: onnx.NodeProto) -> tuple[object, object] | None:
        name = next(iter(node.output), "")
        if name in scan.rounded:
            return FORMALS, partial(round_to, scan.rounded[name])
        return (FORMALS, _pass_on) if name in scan.real else None

    expand_where(proto, opset, expansion)  # type: ignore[arg-type]  # a closure
    del proto.graph.value_info[:]


def round_to(grid: Grid, call: Call) -> list[str]:
    """The nearest value of the grid, ties to even integers."""
    return [
        "scaled = Div (X, scale)",
        "nearest = Round (scaled)",
        constant("low", grid.low - grid.zero),
        constant("high", grid.high - grid.zero),
        "inside = Clip (nearest, low, high)",
        "Y = Mul (inside, scale)",
    ]


def _pass_on(call: Call) -> list[str]:
    return ["Y = Identity (X)"]


@dataclass
class _Scan:
    """What is known of the values of a graph, node by node.

    constants: those that depend on nothing, with their arrays where they are stored. grids: of the integers that
    computed values were quantised to. rounded, real: outputs of the nodes that quantise and dequantise these.
    """

    constants: dict[str, np.ndarray | None]
    grids: dict[str, Grid] = field(default_factory=dict)
    rounded: dict[str, Grid] = field(default_factory=dict)
    real: set[str] = field(default_factory=set)

    def visit(self, node: onnx.NodeProto) -> None:
        """Take in one node. Raises UnsupportedError."""
        first = next(iter(node.input), "")
        if all(name in self.constants for name in node.input if name):
            self.constants.update(dict.fromkeys(node.output, self._evaluate(node)))
        elif node.op_type == "QuantizeLinear":
            self.rounded[node.output[0]] = self.grids[node.output[0]] = self._grid(node)
        elif node.op_type == "DequantizeLinear" and first in self.grids:
            if self._grid(node) != self.grids[first]:
                raise _refusal(node, "it must have the scale and zero point that its operand was quantised with")
            self.real.add(node.output[0])
        elif first in self.grids and _moves(node):
            self.grids.update(dict.fromkeys(node.output, self.grids[first]))
        elif not self.grids.keys().isdisjoint(node.input):
            raise _refusal(node, "it computes with integers of a quantised value")

    def _evaluate(self, node: onnx.NodeProto) -> np.ndarray | None:
        """The array that a node of constants gives, where exporters write scales and zero points so; else None."""
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        operand = self.constants.get(next(iter(node.input), ""))
        if node.op_type == "Constant" and "value" in attributes:
            return np.asarray(onnx.numpy_helper.to_array(attributes["value"]))
        if node.op_type == "Constant" and "value_float" in attributes:
            return np.asarray(attributes["value_float"], np.float32)
        if node.op_type == "Cast" and operand is not None:
            return operand.astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
        return operand if node.op_type == "Identity" else None

    def _grid(self, node: onnx.NodeProto) -> Grid:
        """By the node's scale and zero point. Raises UnsupportedError where these are not constants of one value."""
        names = [*node.input[1:3], ""][:2]
        if any(name and self.constants.get(name) is None for name in names):
            raise _refusal(node, "its scale or zero point is computed, and must be a stored constant")
        scale = self.constants[names[0]]
        zero = np.zeros((), np.uint8) if not names[1] else self.constants[names[1]]
        assert scale is not None
        assert zero is not None
        if scale.size != 1 or zero.size != 1:
            raise _refusal(node, f"it has {max(scale.size, zero.size)} scales, and must have one for all values")
        if zero.dtype not in TYPES:
            raise _refusal(node, f"it quantises to {zero.dtype}, and must to integers of 8 or 16 bits")
        value = float(scale.reshape(-1)[0])
        if scale.dtype != np.float32 or not 0 < value < float("inf"):
            raise _refusal(node, f"its scale must be a positive float32, not {value:g} of {scale.dtype}")
        limits = np.iinfo(zero.dtype)
        return Grid(value, int(zero.reshape(-1)[0]), int(limits.min), int(limits.max))


def _moves(node: onnx.NodeProto) -> bool:
    """Whether a node only moves or chooses elements of its first operand."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    nearest = attributes.get("mode", b"nearest") == b"nearest"
    inside = attributes.get("coordinate_transformation_mode") != b"tf_crop_and_resize"
    return node.op_type in MOVING or (node.op_type == "Resize" and nearest and inside)


def _refusal(node: onnx.NodeProto, reason: str) -> UnsupportedError:
    what = f"{node.op_type} is not compiled: the model is quantised, and"
    return UnsupportedError(f"node {node.name or node.op_type}", f"{what} {reason}", HINT)
