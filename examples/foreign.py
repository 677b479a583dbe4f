"""An exported model with its mixtures of experts as other people write them; all forms run in onnxruntime."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17


class Writer:
    """Collects nodes and initializers; every method returns the name of a value."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    @overload
    def op(self, kind: str, *inputs: str, outputs: Literal[1] = 1, domain: str = "", **attributes: Any) -> str: ...
    @overload
    def op(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]: ...
    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str | list[str]:
        """The value of a new node, or the list of its values where it has several ``outputs``."""
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


Attributes = dict[str, Any]
Weights = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Body = Callable[[Writer, str, str, Weights, Attributes], str]


def _gates(w: Writer, logits: str, a: Attributes) -> tuple[str, str]:
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


def activate(w: Writer, x: str, kind: str) -> str:
    """The activation spelt out as exporters of opset 17 do."""
    if kind == "gelu":
        half = w.op("Mul", x, w.const(0.5))
        return w.op("Mul", half, w.op("Add", w.op("Erf", w.op("Mul", x, w.const(0.5**0.5))), w.const(1)))
    return w.op("Relu", x) if kind == "relu" else w.op("Mul", x, w.op("Sigmoid", x))


def gate_matrix(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """Each expert's weight for each token [T, E]."""
    scores, chosen = _gates(w, logits, a)
    tokens = w.op("Slice", w.op("Shape", x), w.ints(0), w.ints(1))
    zeros = w.op("ConstantOfShape", w.op("Concat", tokens, w.ints(len(weights[0])), axis=0))
    return w.op("ScatterElements", zeros, chosen, scores, axis=1)


def batched(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """All experts in one batched product, weighed by a scattered gate matrix."""
    w1, b1, w2, b2 = weights
    gate = w.op("Unsqueeze", w.op("Transpose", gate_matrix(w, x, logits, weights, a), perm=[1, 0]), w.ints(2))
    hidden = w.op("Add", w.op("MatMul", w.op("Unsqueeze", x, w.ints(0)), w.const(w1)), w.const(b1[:, None]))
    out = w.op("Add", w.op("MatMul", activate(w, hidden, a["activation"]), w.const(w2)), w.const(b2[:, None]))
    return w.op("ReduceSum", w.op("Mul", out, gate), w.ints(0), keepdims=0)


def einsum(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """Einsum with torch's weight layout [E, out, in], one-hot gates."""
    w1, b1, w2, b2 = weights
    scores, chosen = _gates(w, logits, a)
    hot = w.op("OneHot", chosen, w.const(len(w1), np.int64), w.const([0, 1]), axis=-1)
    gate = w.op("ReduceSum", w.op("Mul", hot, w.op("Unsqueeze", scores, w.ints(-1))), w.ints(1), keepdims=0)
    hidden = w.op("Add", w.op("Einsum", x, w.const(w1.transpose(0, 2, 1)), equation="td,ehd->teh"), w.const(b1[None]))
    hidden = activate(w, hidden, a["activation"])
    out = w.op(
        "Add",
        w.op("Einsum", hidden, w.const(w2.transpose(0, 2, 1)), equation="teh,edh->ted"),
        w.const(b2[None]),
    )
    return w.op("Einsum", out, gate, equation="ted,te->td")


def one_by_one(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """An expert after another over every token, each times its gate column; experts listed back to front."""
    gate = gate_matrix(w, x, logits, weights, a)
    total = None
    for e in reversed(range(len(weights[0]))):
        w1, b1, w2, b2 = (part[e] for part in weights)
        hidden = activate(w, w.op("Gemm", x, w.const(w1.T), w.const(b1), transB=1), a["activation"])
        out = w.op("Add", w.op("MatMul", hidden, w.const(w2)), w.const(b2))
        out = w.op("Mul", out, w.op("Unsqueeze", w.op("Gather", gate, w.const(e, np.int64), axis=1), w.ints(1)))
        total = out if total is None else w.op("Add", total, out)
    return str(total)


def mask_equal(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """Per expert, the sum of the scores of the slots that equal its index."""
    scores, chosen = _gates(w, logits, a)
    parts = []
    for e in range(len(weights[0])):
        w1, b1, w2, b2 = (part[e] for part in weights)
        hit = w.op("Where", w.op("Equal", chosen, w.const(e, np.int64)), scores, w.const(0))
        gate = w.op("ReduceSum", hit, w.ints(-1), keepdims=1)
        hidden = activate(w, w.op("Add", w.op("MatMul", x, w.const(w1)), w.const(b1)), a["activation"])
        parts.append(w.op("Mul", w.op("Add", w.op("MatMul", hidden, w.const(w2)), w.const(b2)), gate))
    return w.op("Sum", *parts)


def softmax_after(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """Softmax over the selected logits: the same as normalised scores."""
    assert a["normalize"]
    assert not a["threshold"]
    values, chosen = w.op("TopK", logits, w.ints(a["k"]), outputs=2, axis=-1)
    scores = w.op("Softmax", values, axis=-1)
    picked = [w.op("Gather", w.const(part), chosen, axis=0) for part in weights]
    hidden = w.op("MatMul", w.op("Unsqueeze", x, w.ints(1, 2)), picked[0])
    hidden = activate(w, w.op("Add", hidden, w.op("Unsqueeze", picked[1], w.ints(2))), a["activation"])
    out = w.op("Add", w.op("MatMul", hidden, picked[2]), w.op("Unsqueeze", picked[3], w.ints(2)))
    out = w.op("Squeeze", out, w.ints(2))
    return w.op("ReduceSum", w.op("Mul", out, w.op("Unsqueeze", scores, w.ints(-1))), w.ints(1), keepdims=0)


def nonzero_columns(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """Each expert over the tokens with a gate, added back by ScatterND."""
    columns = w.op("Transpose", gate_matrix(w, x, logits, weights, a), perm=[1, 0])
    total = w.op("Mul", x, w.const(0))
    for e in range(len(weights[0])):
        w1, b1, w2, b2 = (part[e] for part in weights)
        gate = w.op("Gather", columns, w.const(e, np.int64), axis=0)
        rows = w.op("Squeeze", w.op("NonZero", gate), w.ints(0))
        hidden = w.op("Gemm", w.op("Gather", x, rows, axis=0), w.const(w1), w.const(b1))
        out = w.op("Gemm", activate(w, hidden, a["activation"]), w.const(w2), w.const(b2))
        out = w.op("Mul", out, w.op("Unsqueeze", w.op("Gather", gate, rows, axis=0), w.ints(1)))
        total = w.op("ScatterND", total, w.op("Unsqueeze", rows, w.ints(1)), out, reduction="add")
    return total


def nonzero_slots(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
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
        out = w.op("Add", w.op("MatMul", activate(w, hidden, a["activation"]), w.const(w2)), w.const(b2))
        pair = w.op("Concat", w.op("Unsqueeze", row, w.ints(1)), w.op("Unsqueeze", slot, w.ints(1)), axis=1)
        out = w.op("Mul", out, w.op("Unsqueeze", w.op("GatherND", scores, pair), w.ints(1)))
        total = w.op("ScatterND", total, w.op("Unsqueeze", row, w.ints(1)), out, reduction="add")
    return total


def microsoft(w: Writer, x: str, logits: str, weights: Weights, a: Attributes) -> str:
    """onnxruntime's own operator."""
    w1, b1, w2, b2 = weights
    parts = [w.const(w1.transpose(0, 2, 1)), w.const(b1), w.const(w2.transpose(0, 2, 1)), w.const(b2)]
    return w.op(
        "MoE",
        x,
        logits,
        *parts,
        domain="com.microsoft",
        k=a["k"],
        activation_type=a["activation"],
        normalize_routing_weights=int(a["normalize"]),
    )


DENSE: dict[str, Body] = {f.__name__: f for f in (batched, einsum, one_by_one, mask_equal, softmax_after)}
SPARSE: dict[str, Body] = {f.__name__: f for f in (nonzero_columns, nonzero_slots)}


def as_dense(source: Path, folder: Path, style: str = "batched") -> Path:
    """The exported model `source` with dense experts in one of the styles of `DENSE`."""
    return rewrite(source, Path(folder) / f"{style}.onnx", DENSE[style])


def as_nonzero(source: Path, folder: Path, style: str = "nonzero_columns") -> Path:
    """The exported model `source` with experts over gathered tokens in one of the styles of `SPARSE`."""
    return rewrite(source, Path(folder) / f"{style}.onnx", SPARSE[style])


def as_microsoft_moe(source: Path, folder: Path) -> Path:
    """The exported model `source` with `com.microsoft::MoE`: its gelu is the tanh form, so results differ a little."""
    return rewrite(source, Path(folder) / "microsoft.onnx", microsoft)


def rewrite(source: Path, target: Path, body: Body) -> Path:
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
        w1, b1, w2, b2 = (arrays[name] for name in node.input[2:])
        result = body(writer, node.input[0], node.input[1], (w1, b1, w2, b2), attributes)
        nodes += [*writer.nodes, helper.make_node("Identity", [result], node.output)]
        constants += writer.initializers()
    used = {name for node in nodes for name in node.input}
    used_initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    return save(nodes, [*used_initializers, *constants], model.graph.input, model.graph.output, target, opset=20)


def save(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    target: Path,
    opset: int = OPSET,
) -> Path:
    """Write a model of these nodes to ``target`` after onnx has checked it."""
    for node in nodes:
        del node.metadata_props[:]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, constants)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="someone")
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return target
