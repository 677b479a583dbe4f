"""A node of ONNX as an operator: its generic kernel, and onnxruntime to say what it computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgemtl.errors import UnsupportedError
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array, TensorType, Values
from edgemtl.tvm_bridge.generic.call import Call
from edgemtl.tvm_bridge.kernel import FixedKernel

IR_VERSION = 10


@dataclass(frozen=True)
class Generic(FixedKernel):
    """One node. ``call``: the node as its kernel's definition sees it; ``reads``: its computed operands, by index."""

    call: Call = field(kw_only=True, compare=False, repr=False)
    reads: tuple[int, ...] = field(kw_only=True, compare=False, repr=False)

    def compute(self, values: Values) -> tuple[Array, ...]:
        """What onnxruntime computes. Raises UnsupportedError where it does not run the node."""
        names = dict(zip(self.reads, self.signature.inputs, strict=True))
        fed = {f"x{index}": np.ascontiguousarray(values[name]) for index, name in names.items()}
        return tuple(self._session.run(None, fed))

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a Softmax the largest value of each row: how far below it scores count is known, their reach is not."""
        return ("peak",) if self.call.op == "Softmax" else ()

    def part(self, name: str, values: Values) -> Array:
        (x,) = self.signature.inputs
        return np.asarray(values[x].reshape(softmax_axes(self.call)).max(1))

    @cached_property
    def _session(self) -> Any:
        try:
            return open_session(node_model(self.call, self.reads).SerializeToString())
        except Exception as error:
            reason = f"onnxruntime does not run it, and integers are calibrated on what it computes: {error}"
            raise UnsupportedError(self.call.op, reason, "compile in fp32, or replace the operator") from None


def softmax_axes(call: Call) -> tuple[int, int, int]:
    """The elements in front of a Softmax's rows, in a row, and behind; before opset 13 a row is all that follows."""
    shape = call.main_type.shape
    axis = call.attributes.get("axis", -1 if call.opset >= 13 else 1) % max(len(shape), 1)
    end = axis + 1 if call.opset >= 13 else len(shape)
    return math.prod(shape[:axis]), math.prod(shape[axis:end]), math.prod(shape[end:])


def node_model(call: Call, reads: Sequence[int]) -> onnx.ModelProto:
    """A model of the node alone: computed operands x0, x1, ... by index, its results in order."""
    given = {index: kind for index, kind in enumerate(call.inputs) if kind is not None}
    names = [f"x{index}" if index in given else "" for index in range(len(call.inputs))]
    # What its definition does not read needs a value all the same.
    unread = {i: np.zeros(kind.shape, kind.dtype) for i, kind in given.items() if i not in reads}
    known = {**unread, **call.constants}
    inputs = [_value(f"x{index}", given[index]) for index in reads]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(a), f"x{i}") for i, a in known.items()]
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, array: Array) -> str:
        initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(op: str, operands: Sequence[str], attributes: Mapping[str, Any], count: int) -> Sequence[str]:
        results = [f"y{len(nodes) + i}" for i in range(count)]
        nodes.append(helper.make_node(op, list(operands), results))
        nodes[-1].attribute.extend(helper.make_attribute(key, _plain(value)) for key, value in attributes.items())
        return results

    results = spell_call(call, names, node, constant)
    outputs = [_value(name, kind) for name, kind in zip(results, call.outputs, strict=True)]
    graph = helper.make_graph(nodes, "node", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", call.opset)], ir_version=IR_VERSION)


WriteNode = Callable[[str, Sequence[str], Mapping[str, Any], int], Sequence[str]]
"""Writes a node: operator, operands, attributes and number of results; gives the names of these."""


def spell_call(
    call: Call, operands: Sequence[str], node: WriteNode, constant: Callable[[str, Array], str]
) -> Sequence[str]:
    """The names of a call's results, written in operators of ONNX: it has no LpNormalization with a floor.

    ``constant`` writes an array under a name, and gives the name it got.
    """
    if "floor" not in call.attributes:
        return node(call.op, operands, call.attributes, len(call.outputs))
    (x,), axis = operands, call.attributes["axis"]
    axes, floor = np.array([axis], np.int64), np.array(call.attributes["floor"], np.float32)
    (norm,) = node("ReduceL2", (x, constant("axes", axes)), {"keepdims": 1}, 1)
    (bounded,) = node("Max", (norm, constant("floor", floor)), {}, 1)
    return node("Div", (x, bounded), {}, 1)


def _plain(value: Any) -> Any:
    return numpy_helper.from_array(value.numpy()) if hasattr(value, "numpy") else value


def _value(name: str, kind: TensorType) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype))
    return helper.make_tensor_value_info(name, dtype, kind.shape)
