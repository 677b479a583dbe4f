"""One task while its integer steps are written as ONNX operators with QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgemtl.hw.arith import unpack_scale
from edgemtl.lowering.ir import INPUT, Step
from edgemtl.operators import Array
from edgemtl.quantize.build import IntegerTask
from edgemtl.quantize.qdq.graph import Attributes, GraphBuilder, Value
from edgemtl.quantize.qdq.strided import read
from edgemtl.quantize.tensors import Tensor

CURVES: Mapping[str, tuple[str, Attributes]] = {
    "relu": ("Relu", {}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "mish": ("Mish", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": ("HardSwish", {}),
}


@dataclass(frozen=True)
class RealLayer:
    """The real values of a layer: weight int8 [k, n] with its scale [n], bias float32 [n].

    A layer that stays in float has a weight in float32 and no scale.
    """

    weight: Array = field(repr=False)
    scale: Array | None = field(repr=False)
    bias: Array = field(repr=False)


@dataclass
class TaskWriter:
    """Writes one task's steps into a graph that all tasks share.

    ``values``: the value in each buffer. ``parts``: what the steps of a mixture record for its last step, by buffer.
    """

    graph: GraphBuilder
    floats: Sequence[Step]
    task: IntegerTask
    index: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> Step:
        """The integer step that is being written."""
        return self.task.steps[self.index]

    @property
    def operator(self) -> Any:
        """Its operator; for a layer that stays in float, that of the float step."""
        return self.step.operator

    @property
    def source(self) -> Any:
        """The operator of its float step, which has the activation and the geometry."""
        return self.floats[self.task.sources[self.index]].operator

    def tensor(self, buffer: str) -> Tensor:
        """The quantised tensor in a buffer."""
        return self.task.tensors[buffer]

    def input(self, name: str = "x") -> Value:
        """An input as real numbers."""
        return self.graph.real(self.integers(name))

    def integers(self, name: str = "x") -> Value:
        """An input without dequantisation: enough for steps that only move values."""
        view = self.step[name]
        return read(self.graph, self.values[view.buffer], view)

    def write(self, value: Value) -> None:
        """Round a value to the tensor that the step writes, and record it as the step's output."""
        self.place(self.rounded(value))

    def rounded(self, value: Value) -> Value:
        """A value as integers of the tensor the step writes; q, k and v become integers where they are read."""
        tensor = self.task.tensors.get(self.step.result.buffer)
        return value if tensor is None or tensor.parts is not None else self.graph.quantise(value, tensor)

    def place(self, value: Value) -> None:
        """Record a value as the step's output."""
        (view,) = self.step.outputs
        whole = view.is_dense and view.offset == 0 and view.size == value.size
        assert whole, "steps write whole buffers"
        self.values[view.buffer] = value

    def dequantised(self, name: str, integers: Array, scale: Array, axis: int) -> Value:
        """int8 or int16 weights as real numbers, by one scale or one for each index of ``axis``."""
        constant = self.graph.constant(name, integers)
        factor = self.graph.constant(f"{name}.scale", scale.astype(np.float32))
        attributes: Attributes = {"axis": axis} if scale.ndim else {}
        return self.graph.op("DequantizeLinear", (constant, factor), constant.shape, attributes)

    def layer(self, expert: int | None = None) -> RealLayer:
        """The layer, or an expert's, weight last axis n or, of a convolution, first axis n."""
        weight, bias = (self.step.constant(name, expert).array for name in ("weight", "bias"))
        if weight.dtype != np.int8:
            return RealLayer(weight, None, bias)
        x, sums = self.tensor(self.step.main_input.buffer), self.task.sums[self.index]
        mul, shift = unpack_scale(self.step.constant("scale", expert).array)
        wide = np.array([sums.scale]) if sums.parts is None else np.repeat(sums.parts, len(bias) // 3)
        unit = mul * 2.0**-shift * wide
        total = weight.astype(np.int64).sum(tuple(range(1, 4)) if weight.ndim == 4 else 0)
        return RealLayer(weight, unit / x.scale, ((bias + x.zero * total) * unit).astype(np.float32))

    def weight(self, layer: RealLayer, axis: int) -> Value:
        """A layer's weight, with n on ``axis``."""
        name = self.step.constant("weight").name
        if layer.scale is None:
            return self.graph.constant(name, layer.weight)
        return self.dequantised(name, layer.weight, layer.scale, axis)

    def bias(self, array: Array, expert: int | None = None) -> Value:
        """A bias in float32, named after the layer's weight, or an expert's."""
        name = self.step.constant("weight", expert).name
        return self.graph.constant(f"{name}.bias", array.astype(np.float32))

    def activated(self, sums: Value) -> Value:
        """The step's activation of its sums; before a lookup table, these are rounded as in the integer law."""
        if self.step.has_constant("table"):
            sums = self.graph.real(self.graph.quantise(sums, self.task.sums[self.index]))
        return self.curve(sums, self.source.activation)

    def curve(self, sums: Value, activation: str) -> Value:
        """An activation of real numbers; "" is none."""
        if activation == "":
            return sums
        if activation == "silu":
            return self.graph.op("Mul", (sums, self.graph.op("Sigmoid", (sums,), sums.shape)), sums.shape)
        if activation == "relu6":
            bounds = [self.graph.constant("bound", np.array(bound, np.float32)) for bound in (0, 6)]
            return self.graph.op("Clip", (sums, *bounds), sums.shape)
        kind, attributes = CURVES[activation]
        return self.graph.op(kind, (sums,), sums.shape, attributes)


def start(graph: GraphBuilder, inputs: Sequence[Value], floats: Sequence[Step], task: IntegerTask) -> TaskWriter:
    """A writer for a task that has only the inputs so far."""
    return TaskWriter(graph, floats, task, values={f"{INPUT}{value.name}": value for value in inputs})
