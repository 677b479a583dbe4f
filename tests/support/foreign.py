"""Models as other people export them: no `edgemtl::MoE`, no metadata of ours; all run in onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from examples.foreign import (
    Weights,
    Writer,
    activate,
    batched,
    nonzero_columns,
    save,
)


def as_task_id_gather(folder: Path, seed: int = 0, tasks: int = 3) -> Path:
    """A model told its task by the scalar input `task_id`: gates, experts' inputs and heads picked by Gather."""
    rng, w = np.random.default_rng(seed), Writer()
    x = _embed(w, rng, 3, 4, 20)
    gate = w.op("Gather", w.const(_normal(rng, (tasks, 20, 6))), "task_id", axis=0)
    x = w.op("Add", x, batched(w, x, w.op("MatMul", x, gate), _experts(rng, 6, 20, 14), _ROUTING))
    number = w.op("Unsqueeze", "task_id", w.ints(0))
    head = w.op("Squeeze", w.op("Gather", w.const(_normal(rng, (tasks, 20, 5))), number, axis=0), w.ints(0))
    return _finish(w, w.op("MatMul", x, head), 5, folder, "gather", _scalar("task_id", onnx.TensorProto.INT64, []))


def as_task_id_if(folder: Path, seed: int = 0) -> Path:
    """A model of three tasks told apart by nested If: the gate from one, heads of 5, 1 and 3 channels in the other."""
    rng, w = np.random.default_rng(seed), Writer()
    x = _embed(w, rng, 3, 4, 20)
    number = w.op("Squeeze", "task")
    gates = [w.const(_normal(rng, (20, 6))) for _ in range(3)]
    logits = _switch(w, number, [lambda b, g=g: b.op("MatMul", x, g) for g in gates])
    x = w.op("Add", x, nonzero_columns(w, x, logits, _experts(rng, 6, 20, 14), _ROUTING))
    heads = [w.const(_normal(rng, (20, c))) for c in (5, 1, 3)]
    out = _switch(w, number, [lambda b, h=h: b.op("Relu", b.op("MatMul", x, h)) for h in heads])
    return _finish(w, out, None, folder, "if", _scalar("task", onnx.TensorProto.INT32, [1]))


_ROUTING = {"k": 2, "activation": "gelu", "normalize": 1, "threshold": 0.0}


def _switch(w: Writer, number: str, branches: list[Callable[[Writer], str]]) -> str:
    """if number == 0: .. elif number == 1: .. else: .."""
    result, index = None, len(branches) - 1
    for build in reversed(branches):
        branch = Writer(f"{w.prefix}branch{len(w.nodes)}_{index}/")
        value = build(branch)
        graph = _branch(branch, value)
        if result is None:
            result, below = value, graph
        else:
            outer = Writer(f"{w.prefix}case{len(w.nodes)}_{index}/") if index else w
            same = outer.op("Equal", number, w.const(index, np.int32))
            result = outer.op("If", same, then_branch=graph, else_branch=below)
            below = _branch(outer, result) if index else None
        index -= 1
    return str(result)


def _branch(w: Writer, result: str) -> onnx.GraphProto:
    output = helper.make_empty_tensor_value_info(result)
    output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return helper.make_graph(w.nodes, "branch", [], [output], w.initializers())


def _embed(w: Writer, rng: np.random.Generator, rows: int, columns: int, dim: int) -> str:
    """Tokens [rows * columns, dim] of the image input [1, 3, 4 * rows, 4 * columns]."""
    kernel = w.const(_normal(rng, (dim, 3, 4, 4)))
    x = w.op("Conv", "image", kernel, w.const(rng.standard_normal(dim) * 0.2), strides=[4, 4])
    return w.op("Transpose", w.op("Reshape", x, w.ints(dim, rows * columns)), perm=[1, 0])


def _finish(w: Writer, tokens: str, channels: int | None, folder: Path, name: str, task: onnx.ValueInfoProto) -> Path:
    """The map [1, channels, 3, 4] of tokens [12, channels] as the model's output."""
    out = w.op("Reshape", w.op("Transpose", tokens, perm=[1, 0]), w.ints(1, channels or -1, 3, 4))
    w.nodes.append(helper.make_node("Identity", [out], ["map"]))
    image = helper.make_tensor_value_info("image", 1, ["batch", 3, 12, 16])
    output = helper.make_tensor_value_info("map", 1, [1, channels or "channels", 3, 4])
    return save(w.nodes, w.initializers(), [image, task], [output], Path(folder) / f"task_{name}.onnx")


def _scalar(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights that keep the variance of what they multiply."""
    inputs = int(np.prod(shape[1:])) if len(shape) == 4 else shape[-2]
    return rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(inputs))


def _experts(rng: np.random.Generator, experts: int, dim: int, hidden: int) -> Weights:
    b1, b2 = (0.2 * rng.standard_normal((experts, n), np.float32) for n in (hidden, dim))
    return _normal(rng, (experts, dim, hidden)), b1, _normal(rng, (experts, hidden, dim)), b2


def plain_cnn(folder: Path, seed: int = 0) -> Path:
    """A convolutional network with two heads and open batch size, BatchNorm and Dropout left in: no experts."""
    rng, w = np.random.default_rng(seed), Writer()
    x = "image"
    for inputs, outputs, stride in ((3, 12, 2), (12, 20, 1)):
        x = w.op("Conv", x, w.const(_normal(rng, (outputs, inputs, 3, 3))), strides=[stride] * 2, pads=[1] * 4)
        scale, shift, mean = (rng.standard_normal(outputs) * 0.3 + c for c in (1, 0, 0))
        x = w.op("BatchNormalization", x, *map(w.const, (scale, shift, mean, rng.uniform(0.5, 2, outputs))))
        x = w.op("Dropout", w.op("Relu", x))
    small = w.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    seg = w.op("Conv", small, w.const(_normal(rng, (7, 20, 1, 1))))
    size = w.op("Concat", w.op("Slice", w.op("Shape", seg), w.ints(0), w.ints(2)), w.ints(17, 23), axis=0)
    w.nodes.append(helper.make_node("Resize", [seg, "", "", size], ["semseg"], mode="linear"))
    depth = w.op("Conv", x, w.const(_normal(rng, (1, 20, 1, 1))))
    w.nodes.append(helper.make_node("Sigmoid", [depth], ["depth"]))
    image = helper.make_tensor_value_info("image", 1, ["batch", 3, 17, 23])
    outputs = [helper.make_tensor_value_info(n, 1, ["batch", c, None, None]) for n, c in (("semseg", 7), ("depth", 1))]
    return save(w.nodes, w.initializers(), [image], outputs, Path(folder) / "cnn.onnx")


def plain_vit(folder: Path, seed: int = 0) -> Path:
    """A vision transformer without experts, attention and LayerNorm spelt out, a map and a class score as outputs."""
    rng, w, dim = np.random.default_rng(seed), Writer(), 24
    x = w.op(
        "Add",
        w.op("Unsqueeze", _embed(w, rng, 3, 4, dim), w.ints(0)),
        w.const(rng.standard_normal((1, 12, dim))),
    )
    for _ in range(2):
        x = w.op("Add", x, _attend(w, rng, _norm(w, rng, x, dim), dim, 3))
        hidden = w.op(
            "Add",
            w.op("MatMul", _norm(w, rng, x, dim), w.const(_normal(rng, (dim, 30)))),
            w.const([0.1] * 30),
        )
        x = w.op("Add", x, w.op("MatMul", activate(w, hidden, "gelu"), w.const(_normal(rng, (30, dim)))))
    tokens = w.op("MatMul", _norm(w, rng, x, dim), w.const(_normal(rng, (dim, 3))))
    w.nodes.append(
        helper.make_node("Reshape", [w.op("Transpose", tokens, perm=[0, 2, 1]), w.ints(1, 3, 3, 4)], ["normal"])
    )
    pooled = w.op("ReduceMean", x, axes=[1], keepdims=0)
    w.nodes.append(helper.make_node("MatMul", [pooled, w.const(_normal(rng, (dim, 10)))], ["scene"]))
    image = helper.make_tensor_value_info("image", 1, [1, 3, 12, 16])
    outputs = [
        helper.make_tensor_value_info("normal", 1, [1, 3, 3, 4]),
        helper.make_tensor_value_info("scene", 1, [1, 10]),
    ]
    return save(w.nodes, w.initializers(), [image], outputs, Path(folder) / "vit.onnx")


def _norm(w: Writer, rng: np.random.Generator, x: str, dim: int) -> str:
    centred = w.op("Sub", x, w.op("ReduceMean", x, axes=[-1]))
    variance = w.op("ReduceMean", w.op("Pow", centred, w.const(2)), axes=[-1])
    scaled = w.op("Div", centred, w.op("Sqrt", w.op("Add", variance, w.const(1e-5))))
    scale, shift = rng.uniform(0.5, 1.5, dim), rng.standard_normal(dim) * 0.2
    return w.op("Add", w.op("Mul", scaled, w.const(scale)), w.const(shift))


def _attend(w: Writer, rng: np.random.Generator, x: str, dim: int, heads: int) -> str:
    qkv = w.op(
        "Reshape",
        w.op("MatMul", x, w.const(_normal(rng, (dim, 3 * dim)))),
        w.ints(1, 12, 3, heads, dim // heads),
    )
    parts = w.op("Split", w.op("Transpose", qkv, perm=[2, 0, 3, 1, 4]), w.ints(1, 1, 1), outputs=3, axis=0)
    q, k, v = (w.op("Squeeze", part, w.ints(0)) for part in parts)
    scores = w.op("Div", w.op("MatMul", q, w.op("Transpose", k, perm=[0, 1, 3, 2])), w.const((dim // heads) ** 0.5))
    mixed = w.op("MatMul", w.op("Softmax", scores, axis=-1), v)
    mixed = w.op("Reshape", w.op("Transpose", mixed, perm=[0, 2, 1, 3]), w.ints(1, 12, dim))
    return w.op("MatMul", mixed, w.const(_normal(rng, (dim, dim))))
