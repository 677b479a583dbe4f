"""Models as other people export them: no `edgemtl::MoE`, no metadata of ours; all run in onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17


class Writer:
    """Collects nodes and initializers; every method returns the name of a value."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix, self.nodes, self.constants = prefix, [], {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: object):
        names = [f"{self.prefix}{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        name = f"{self.prefix}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, array: object, dtype: type = np.float32) -> str:
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants[name] = np.array(array, dtype, order="C")
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def initializers(self) -> list[onnx.TensorProto]:
        return [numpy_helper.from_array(array, name) for name, array in self.constants.items()]


Weights = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Body = Callable[[Writer, str, str, Weights, dict], str]


def _gates(w: Writer, logits: str, a: dict) -> tuple[str, str]:
    """Scores and columns [T, k] of the selected experts."""
    first, size = a.get("window", (0, None))
    if size is not None:
        logits = w.op("Slice", logits, w.ints(first), w.ints(first + size), w.ints(1))
    scores, chosen = w.op("TopK", w.op("Softmax", logits, axis=-1), w.ints(a["k"]), outputs=2, axis=-1)
    if a["normalize"]:
        scores = w.op("Div", scores, w.op("ReduceSum", scores, w.ints(-1), keepdims=1))
    if a["threshold"]:
        scores = w.op("Where", w.op("Less", scores, w.const(a["threshold"])), w.const(0), scores)
    return scores, w.op("Add", chosen, w.const(first, np.int64)) if first else chosen


def _activate(w: Writer, x: str, kind: str) -> str:
    """The activation spelt out as exporters of opset 17 do."""
    if kind == "gelu":
        half = w.op("Mul", x, w.const(0.5))
        return w.op("Mul", half, w.op("Add", w.op("Erf", w.op("Mul", x, w.const(0.5**0.5))), w.const(1)))
    return w.op("Relu", x) if kind == "relu" else w.op("Mul", x, w.op("Sigmoid", x))


def _gate_matrix(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Each expert's weight for each token [T, E]."""
    scores, chosen = _gates(w, logits, a)
    tokens = w.op("Slice", w.op("Shape", x), w.ints(0), w.ints(1))
    zeros = w.op("ConstantOfShape", w.op("Concat", tokens, w.ints(len(weights[0])), axis=0))
    return w.op("ScatterElements", zeros, chosen, scores, axis=1)


def batched(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """All experts in one batched product, weighed by a scattered gate matrix."""
    w1, b1, w2, b2 = weights
    gate = w.op("Unsqueeze", w.op("Transpose", _gate_matrix(w, x, logits, weights, a), perm=[1, 0]), w.ints(2))
    hidden = w.op("Add", w.op("MatMul", w.op("Unsqueeze", x, w.ints(0)), w.const(w1)), w.const(b1[:, None]))
    out = w.op("Add", w.op("MatMul", _activate(w, hidden, a["activation"]), w.const(w2)), w.const(b2[:, None]))
    return w.op("ReduceSum", w.op("Mul", out, gate), w.ints(0), keepdims=0)


def einsum(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Einsum with torch's weight layout [E, out, in], one-hot gates."""
    w1, b1, w2, b2 = weights
    scores, chosen = _gates(w, logits, a)
    hot = w.op("OneHot", chosen, w.const(len(w1), np.int64), w.const([0, 1]), axis=-1)
    gate = w.op("ReduceSum", w.op("Mul", hot, w.op("Unsqueeze", scores, w.ints(-1))), w.ints(1), keepdims=0)
    hidden = w.op("Add", w.op("Einsum", x, w.const(w1.transpose(0, 2, 1)), equation="td,ehd->teh"), w.const(b1[None]))
    hidden = _activate(w, hidden, a["activation"])
    out = w.op(
        "Add",
        w.op("Einsum", hidden, w.const(w2.transpose(0, 2, 1)), equation="teh,edh->ted"),
        w.const(b2[None]),
    )
    return w.op("Einsum", out, gate, equation="ted,te->td")


def one_by_one(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """An expert after another over every token, each times its gate column; experts listed back to front."""
    gate = _gate_matrix(w, x, logits, weights, a)
    total = None
    for e in reversed(range(len(weights[0]))):
        w1, b1, w2, b2 = (part[e] for part in weights)
        hidden = _activate(w, w.op("Gemm", x, w.const(w1.T), w.const(b1), transB=1), a["activation"])
        out = w.op("Add", w.op("MatMul", hidden, w.const(w2)), w.const(b2))
        out = w.op("Mul", out, w.op("Unsqueeze", w.op("Gather", gate, w.const(e, np.int64), axis=1), w.ints(1)))
        total = out if total is None else w.op("Add", total, out)
    return str(total)


def mask_equal(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Per expert, the sum of the scores of the slots that equal its index."""
    scores, chosen = _gates(w, logits, a)
    parts = []
    for e in range(len(weights[0])):
        w1, b1, w2, b2 = (part[e] for part in weights)
        hit = w.op("Where", w.op("Equal", chosen, w.const(e, np.int64)), scores, w.const(0))
        gate = w.op("ReduceSum", hit, w.ints(-1), keepdims=1)
        hidden = _activate(w, w.op("Add", w.op("MatMul", x, w.const(w1)), w.const(b1)), a["activation"])
        parts.append(w.op("Mul", w.op("Add", w.op("MatMul", hidden, w.const(w2)), w.const(b2)), gate))
    return w.op("Sum", *parts)


def softmax_after(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Softmax over the selected logits: the same as normalised scores."""
    assert a["normalize"]
    assert not a["threshold"]
    values, chosen = w.op("TopK", logits, w.ints(a["k"]), outputs=2, axis=-1)
    scores = w.op("Softmax", values, axis=-1)
    picked = [w.op("Gather", w.const(part), chosen, axis=0) for part in weights]
    hidden = w.op("MatMul", w.op("Unsqueeze", x, w.ints(1, 2)), picked[0])
    hidden = _activate(w, w.op("Add", hidden, w.op("Unsqueeze", picked[1], w.ints(2))), a["activation"])
    out = w.op("Add", w.op("MatMul", hidden, picked[2]), w.op("Unsqueeze", picked[3], w.ints(2)))
    out = w.op("Squeeze", out, w.ints(2))
    return w.op("ReduceSum", w.op("Mul", out, w.op("Unsqueeze", scores, w.ints(-1))), w.ints(1), keepdims=0)


def nonzero_columns(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Each expert over the tokens with a gate, added back by ScatterND."""
    columns = w.op("Transpose", _gate_matrix(w, x, logits, weights, a), perm=[1, 0])
    total = w.op("Mul", x, w.const(0))
    for e in range(len(weights[0])):
        w1, b1, w2, b2 = (part[e] for part in weights)
        gate = w.op("Gather", columns, w.const(e, np.int64), axis=0)
        rows = w.op("Squeeze", w.op("NonZero", gate), w.ints(0))
        hidden = w.op("Gemm", w.op("Gather", x, rows, axis=0), w.const(w1), w.const(b1))
        out = w.op("Gemm", _activate(w, hidden, a["activation"]), w.const(w2), w.const(b2))
        out = w.op("Mul", out, w.op("Unsqueeze", w.op("Gather", gate, rows, axis=0), w.ints(1)))
        total = w.op("ScatterND", total, w.op("Unsqueeze", rows, w.ints(1)), out, reduction="add")
    return total


def nonzero_slots(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """torch.where over a one-hot mask [E, k, T], GatherND of the scores, ScatterND: a loop over experts, traced."""
    scores, chosen = _gates(w, logits, a)
    total = w.op("Expand", w.const(0), w.op("Shape", x))
    hot = w.op("OneHot", chosen, w.const(len(weights[0]), np.int64), w.const([0, 1], np.int64), axis=-1)
    mask = w.op("Transpose", hot, perm=[2, 1, 0])
    for e in range(len(weights[0])):
        w1, b1, w2, b2 = (part[e] for part in weights)
        where = w.op("NonZero", w.op("Cast", w.op("Gather", mask, w.const(e, np.int64), axis=0), to=9))
        slot, row = w.op("Split", where, w.ints(1, 1), outputs=2, axis=0)
        slot, row = w.op("Squeeze", slot, w.ints(0)), w.op("Squeeze", row, w.ints(0))
        hidden = w.op("Add", w.op("MatMul", w.op("Gather", x, row, axis=0), w.const(w1)), w.const(b1))
        out = w.op("Add", w.op("MatMul", _activate(w, hidden, a["activation"]), w.const(w2)), w.const(b2))
        pair = w.op("Concat", w.op("Unsqueeze", row, w.ints(1)), w.op("Unsqueeze", slot, w.ints(1)), axis=1)
        out = w.op("Mul", out, w.op("Unsqueeze", w.op("GatherND", scores, pair), w.ints(1)))
        total = w.op("ScatterND", total, w.op("Unsqueeze", row, w.ints(1)), out, reduction="add")
    return total


def microsoft(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """onnxruntime's own operator."""
    w1, b1, w2, b2 = weights
    parts = [w.const(w1.transpose(0, 2, 1)), w.const(b1), w.const(w2.transpose(0, 2, 1)), w.const(b2)]
    attributes = {
        "k": a["k"],
        "activation_type": a["activation"],
        "normalize_routing_weights": int(a["normalize"]),
    }
    return w.op("MoE", x, logits, *parts, domain="com.microsoft", **attributes)


DENSE: dict[str, Body] = {f.__name__: f for f in (batched, einsum, one_by_one, mask_equal, softmax_after)}
SPARSE: dict[str, Body] = {f.__name__: f for f in (nonzero_columns, nonzero_slots)}


def as_dense(source: Path, folder: Path, style: str = "batched") -> Path:
    """The exported model `source` with dense experts in one of the styles of `DENSE`."""
    return _rewrite(source, Path(folder) / f"{style}.onnx", DENSE[style])


def as_nonzero(source: Path, folder: Path, style: str = "nonzero_columns") -> Path:
    """The exported model `source` with experts over gathered tokens in one of the styles of `SPARSE`."""
    return _rewrite(source, Path(folder) / f"{style}.onnx", SPARSE[style])


def as_microsoft_moe(source: Path, folder: Path) -> Path:
    """The exported model `source` with `com.microsoft::MoE`: its gelu is the tanh form, so results differ a little."""
    return _rewrite(source, Path(folder) / "microsoft.onnx", microsoft)


def _rewrite(source: Path, target: Path, body: Body) -> Path:
    model = onnx.load(source)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes, constants = [], []
    for index, node in enumerate(model.graph.node):
        if node.domain != "edgemtl":
            nodes.append(node)
            continue
        writer = Writer(f"layer{index}/")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes["activation"] = attributes["activation"].decode()
        result = body(writer, node.input[0], node.input[1], tuple(arrays[n] for n in node.input[2:]), attributes)
        nodes += [*writer.nodes, helper.make_node("Identity", [result], node.output)]
        constants += writer.initializers()
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    return _save(nodes, [*kept, *constants], model.graph.input, model.graph.output, target, opset=20)


def _save(nodes, constants, inputs, outputs, target: Path, opset: int = OPSET) -> Path:
    for node in nodes:
        del node.metadata_props[:]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, constants)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="someone")
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return target


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
    return _save(w.nodes, w.initializers(), [image, task], [output], Path(folder) / f"task_{name}.onnx")


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
    return _save(w.nodes, w.initializers(), [image], outputs, Path(folder) / "cnn.onnx")


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
        x = w.op("Add", x, w.op("MatMul", _activate(w, hidden, "gelu"), w.const(_normal(rng, (30, dim)))))
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
    return _save(w.nodes, w.initializers(), [image], outputs, Path(folder) / "vit.onnx")


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
