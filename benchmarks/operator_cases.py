"""One small ONNX model for each operator and shape: a prelude, the operator, and an end that is none of those measured.

Nodes of the operator are called ``op...``; everything else belongs to the model around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


@dataclass
class Graph:
    """A model while it is written: one float32 input ``x``, one output ``y``."""

    shape: tuple[int, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def weight(self, *shape: int, scale: float | None = None) -> str:
        """A random weight; by default of the scale that keeps the size of what it multiplies."""
        name = f"w{len(self.weights)}"
        spread = scale if scale is not None else math.prod(shape[1:]) ** -0.5
        values = np.random.default_rng([len(self.weights), *shape]).standard_normal(shape) * spread
        return self.constant(values.astype(np.float32), name)

    def constant(self, values: np.ndarray, name: str = "") -> str:
        """A constant."""
        name = name or f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str = "op", /, **attributes: Any) -> str:
        """A node with one output of its own name; ``name`` says whether it is measured."""
        name = f"{name}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def split(self, source: str) -> tuple[str, str]:
        """Both halves of the channels; not measured."""
        name = f"pre_{len(self.nodes)}"
        halves = f"{name}_a", f"{name}_b"
        self.nodes.append(helper.make_node("Split", [source], list(halves), name=name, axis=1, num_outputs=2))
        return halves

    def model(self, last: str) -> onnx.ModelProto:
        """The model that ends in the largest value of every channel, or of every token."""
        if len(self.shape) == 4:
            self.nodes.append(helper.make_node("GlobalMaxPool", [last], ["y"], name="end"))
        else:
            axes = self.constant(np.array([2], np.int64))
            self.nodes.append(helper.make_node("ReduceMax", [last, axes], ["y"], name="end"))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "operator", [x], [y], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


@dataclass(frozen=True)
class OperatorCase:
    """A model with one operator to measure; ``family`` is what ``--operators`` chooses by."""

    family: str
    name: str
    model: onnx.ModelProto


def cases() -> Iterator[OperatorCase]:
    """Every operator with a kernel of ours, at the shapes of usual networks."""
    yield from _convolutions()
    yield from _transposed()
    yield from _elementwise()
    yield from _pools()
    yield from _resizes()
    yield from _tokens()


def _conv(
    image: int, channels: tuple[int, int], kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> OperatorCase:
    cin, cout = channels
    graph = Graph((1, cin, image, image))
    pad = 0 if stride == kernel else dilation * (kernel - 1) // 2
    weight, bias = graph.weight(cout, cin // groups, kernel, kernel), graph.weight(cout, scale=0.1)
    settings: dict[str, Any] = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "dilations": [dilation] * 2,
        "group": groups,
    }
    y = graph.node("Conv", ["x", weight, bias], pads=[pad] * 4, **settings)
    y = graph.node("Relu", [y])
    kind = "conv" if groups == 1 else "depthwise" if groups == cin else "grouped"
    details = "".join(
        f" {word}{value}" for word, value in (("s", stride), ("d", dilation), ("g", groups)) if value not in (1, cin)
    )
    return OperatorCase(kind, f"{kind} {kernel}x{kernel}{details} {image}x{image}x{cin} to {cout}", graph.model(y))


def _convolutions() -> Iterator[OperatorCase]:
    for image, channels in ((56, (64, 256)), (14, (256, 256)), (28, (96, 24))):
        yield _conv(image, channels, 1)
    for image, channels in ((56, (64, 64)), (28, (128, 128)), (14, (256, 256)), (64, (16, 16))):
        yield _conv(image, channels, 3)
    yield _conv(28, (128, 256), 1, stride=2)
    yield _conv(56, (64, 128), 3, stride=2)
    yield _conv(112, (3, 32), 3, stride=2)
    yield _conv(28, (64, 64), 3, dilation=2)
    yield _conv(14, (256, 64), 3, dilation=6)
    yield _conv(28, (32, 32), 5)
    yield _conv(112, (3, 64), 7, stride=2)
    yield _conv(28, (32, 32), 7)
    yield _conv(128, (3, 96), 4, stride=4)
    for image, width, kernel, stride in (
        (56, 96, 3, 1), (14, 384, 3, 1), (56, 96, 3, 2), (28, 120, 5, 1), (28, 192, 7, 1),
    ):  # fmt: skip
        yield _conv(image, (width, width), kernel, stride, groups=width)
    yield _conv(28, (64, 64), 3, groups=4)


def _transposed() -> Iterator[OperatorCase]:
    for image, cin, cout, kernel, pad in ((28, 128, 64, 2, 0), (16, 64, 32, 4, 1)):
        graph = Graph((1, cin, image, image))
        weight = graph.weight(cin, cout, kernel, kernel, scale=1 / np.sqrt(cin * 4))
        settings: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [2, 2], "pads": [pad] * 4}
        y = graph.node("ConvTranspose", ["x", weight, graph.weight(cout, scale=0.1)], **settings)
        yield OperatorCase(
            "transposed", f"transposed {kernel}x{kernel} s2 {image}x{image}x{cin} to {cout}", graph.model(y)
        )


def _elementwise() -> Iterator[OperatorCase]:
    for image, width in ((56, 64), (14, 256)):
        size = f"{image}x{image}x{width}"
        for name, op in (("add", "Add"), ("add relu", "Add"), ("multiply", "Mul"), ("concat", "Concat")):
            graph = Graph((1, 2 * width, image, image))
            a, b = graph.split("x")
            attributes: dict[str, Any] = {"axis": 1} if op == "Concat" else {}
            y = graph.node(op, [b, a], **attributes)
            y = graph.node("Relu", [y]) if name == "add relu" else y
            yield OperatorCase("elementwise", f"{name} {size}", graph.model(y))
        graph = Graph((1, width, image, image))
        mean = graph.node("GlobalAveragePool", ["x"], "pre")
        gate = graph.node("Conv", [mean, graph.weight(width, width, 1, 1)], "pre", kernel_shape=[1, 1])
        yield OperatorCase("elementwise", f"multiply by channel {size}", graph.model(graph.node("Mul", ["x", gate])))
        for op in ("Sigmoid", "HardSwish", "Elu"):
            graph = Graph((1, width, image, image))
            yield OperatorCase("lookup", f"{op.lower()} {size}", graph.model(graph.node(op, ["x"])))


def _pools() -> Iterator[OperatorCase]:
    for image, width in ((112, 64), (28, 128)):
        for op, kernel, stride, pad in (("MaxPool", 3, 2, 1), ("MaxPool", 2, 2, 0), ("AveragePool", 3, 1, 1)):
            graph = Graph((1, width, image, image))
            y = graph.node(op, ["x"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)
            yield OperatorCase("pool", f"{op} {kernel}x{kernel} s{stride} {image}x{image}x{width}", graph.model(y))
    for image, width in ((7, 512), (56, 64)):
        graph = Graph((1, width, image, image))
        y = graph.node("GlobalAveragePool", ["x"])
        yield OperatorCase("pool", f"GlobalAveragePool {image}x{image}x{width}", graph.model(y))


def _resizes() -> Iterator[OperatorCase]:
    for image, width, factor, mode in ((28, 64, 2, "linear"), (28, 64, 2, "nearest"), (16, 128, 4, "linear")):
        graph = Graph((1, width, image, image))
        scales = graph.constant(np.array([1, 1, factor, factor], np.float32))
        settings: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "half_pixel"}
        if mode == "nearest":
            settings = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        y = graph.node("Resize", ["x", "", scales], **settings)
        yield OperatorCase("resize", f"resize {mode} x{factor} {image}x{image}x{width}", graph.model(y))


def _linear(graph: Graph, source: str, k: int, n: int, name: str = "op") -> str:
    weight = graph.weight(k, n, scale=1 / np.sqrt(k))
    product = graph.node("MatMul", [source, weight], name)
    return graph.node("Add", [product, graph.weight(n, scale=0.1)], name)


def _gelu(graph: Graph, x: str) -> str:
    root, one, half = (graph.constant(np.array(v, np.float32)) for v in (np.sqrt(2), 1, 0.5))
    inner = graph.node("Add", [graph.node("Erf", [graph.node("Div", [x, root])]), one])
    return graph.node("Mul", [graph.node("Mul", [x, inner]), half])


def _tokens() -> Iterator[OperatorCase]:
    for tokens, dim in ((197, 192), (197, 384)):
        graph = Graph((1, tokens, dim))
        yield OperatorCase("linear", f"linear {tokens}x{dim}x{3 * dim}", graph.model(_linear(graph, "x", dim, 3 * dim)))
        graph = Graph((1, tokens, dim))
        y = _gelu(graph, _linear(graph, "x", dim, 4 * dim))
        yield OperatorCase("linear", f"linear {tokens}x{dim}x{4 * dim} gelu", graph.model(y))
        graph = Graph((1, tokens, 4 * dim))
        yield OperatorCase("linear", f"linear {tokens}x{4 * dim}x{dim}", graph.model(_linear(graph, "x", 4 * dim, dim)))
        graph = Graph((1, tokens, dim))
        y = graph.node("LayerNormalization", ["x", graph.weight(dim, scale=1.0), graph.weight(dim, scale=0.1)], axis=-1)
        yield OperatorCase("norm", f"layernorm {tokens}x{dim}", graph.model(_linear(graph, y, dim, dim, "pre")))
    for tokens, heads, width in ((197, 3, 64), (197, 12, 32)):
        yield _attention(tokens, heads, width)


def _attention(tokens: int, heads: int, width: int) -> OperatorCase:
    dim = heads * width
    graph = Graph((1, tokens, dim))
    qkv = _linear(graph, "x", dim, 3 * dim, "pre")
    shaped = graph.node("Reshape", [qkv, graph.constant(np.array([1, tokens, 3, heads, width], np.int64))])
    moved = graph.node("Transpose", [shaped], perm=[2, 0, 3, 1, 4])
    q, k, v = (graph.node("Gather", [moved, graph.constant(np.array(i, np.int64))], axis=0) for i in range(3))
    scaled = graph.node("Mul", [q, graph.constant(np.array(width**-0.5, np.float32))])
    scores = graph.node("MatMul", [scaled, graph.node("Transpose", [k], perm=[0, 1, 3, 2])])
    mixed = graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), v])
    joined = graph.node("Transpose", [mixed], perm=[0, 2, 1, 3])
    y = graph.node("Reshape", [joined, graph.constant(np.array([1, tokens, dim], np.int64))])
    y = _linear(graph, y, dim, dim, "pre")
    return OperatorCase("attention", f"attention {tokens} tokens, {heads} heads of {width}", graph.model(y))
