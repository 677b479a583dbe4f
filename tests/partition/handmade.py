"""Small multi-task graphs written node by node, without torch, and onnxruntime to run graphs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgemtl.frontend.model import InputSpec, MoELayer, MultiTaskModel, Task
from edgemtl.frontend.moe_node import attach_functions, moe_nodes
from edgemtl.frontend.simplify import infer_shapes
from edgemtl.operators import Frame

DIM, EXPERTS, HIDDEN, TOKENS = 6, 8, 5, 4
IMAGE = (1, 3, 8, 8)


class Builder:
    """Collects nodes and constants; every method returns the name of what it made."""

    def __init__(self, seed: int = 0) -> None:
        self.rng, self.nodes, self.constants = np.random.default_rng(seed), [], []

    def const(self, array, name=None) -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape, scale=1.0, name=None) -> str:
        return self.const((scale * self.rng.standard_normal(shape)).astype(np.float32), name)

    def node(self, op, *inputs, out=None, domain="", outputs=1, **attributes):
        name = f"{op}_{len(self.nodes)}"
        made = [out or f"{name}_out"] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, name=name, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def norm(self, x, channels, **options) -> str:
        """BatchNormalization with statistics that are not trivial."""
        variance = self.const(self.rng.uniform(0.5, 2, channels).astype(np.float32))
        scale, shift, mean = (self.weight(channels) for _ in range(3))
        return self.node("BatchNormalization", x, scale, shift, mean, variance, **options)

    def experts(self, count=EXPERTS) -> list[str]:
        shapes = ((count, DIM, HIDDEN), (count, HIDDEN), (count, HIDDEN, DIM), (count, DIM))
        return [self.weight(*shape) for shape in shapes]

    def graph(self, outputs: dict[str, tuple[int, ...] | None], image=IMAGE) -> ir.Model:
        """The model; an output's shape may be left to ONNX's inference where there is no MoE."""
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()]
        fed = [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)]
        graph = helper.make_graph(self.nodes, "g", fed, values, self.constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("edgemtl", 1)]
        proto = onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opsets, ir_version=10), data_prop=True
        )
        model = ir.from_proto(proto)
        attach_functions(model)
        onnx.checker.check_model(ir.to_proto(model))
        infer_shapes(model)
        return model


def as_multi_task(model: ir.Model) -> MultiTaskModel:
    """The graph as the frontend would hand it over; every output a task."""
    tasks = tuple(Task(str(v.name), str(v.name), "other", v.shape[1]) for v in model.graph.outputs)
    layers = tuple(
        MoELayer(str(n.name), int(n.inputs[2].shape[0]), n.attributes["k"].as_int(), DIM, HIDDEN)
        for n in moe_nodes(model)
    )
    spec = InputSpec("image", tuple(int(d) for d in model.graph.inputs[0].shape), None, None)
    return MultiTaskModel(model, (spec,), tasks, layers, (), "0" * 64)


def two_tasks(gate: str, seed: int = 0, **moe) -> MultiTaskModel:
    """Patches, one mixture of experts and a head with BatchNorm, twice.

    gate: "multi" (one each), "window" (one for both, experts 0..3 and 4..7), "embedded" (one for both, plus
    what a small network makes of the task's number), "masked" (one each, experts 0, 2 and 5 of the first task
    masked) or "none" (a dense network).
    """
    b = Builder(seed)
    x = b.node("Conv", "image", b.weight(DIM, 3, 4, 4, scale=0.3), b.weight(DIM), strides=[4, 4])
    x = b.node("Transpose", b.node("Reshape", x, b.const(np.array([DIM, TOKENS]))), perm=[1, 0])
    shared, stacks = b.weight(DIM, EXPERTS, name="shared_gate"), b.experts()
    for task in range(2):
        y = x
        if gate != "none":
            logits, window = _logits(b, gate, x, shared, task)
            attributes = {"k": 2, "activation": "gelu", "normalize": 0, "threshold": 0.0, **window, **moe}
            y = b.node("Add", x, b.node("MoE", x, logits, *stacks, domain="edgemtl", **attributes))
        _head(b, y, task)
    return as_multi_task(b.graph({"t0": (1, 2, 2, 2), "t1": (1, 2, 2, 2)}))


def _logits(b, gate, x, shared, task):
    if gate == "window":
        return b.node("MatMul", x, shared), {"window": [4 * task, 4]}
    own = b.node("MatMul", x, shared if gate == "embedded" else b.weight(DIM, EXPERTS))
    if gate == "embedded":
        row = b.node("Gather", b.weight(2, 3), b.const(np.array([task])))
        hidden = b.node("Gelu", b.node("MatMul", row, b.weight(3, 3)))
        own = b.node("Add", own, b.node("MatMul", hidden, b.weight(3, EXPERTS)))
    if gate == "masked" and task == 0:
        mask = np.zeros((1, EXPERTS), np.float32)
        mask[0, [0, 2, 5]] = -np.inf
        own = b.node("Add", own, b.const(mask))
    return own, {}


def _head(b, y, task):
    y = b.node("Reshape", b.node("Transpose", y, perm=[1, 0]), b.const(np.array([1, DIM, 2, 2])))
    y = b.node("Conv", y, b.weight(4, DIM, 3, 3), pads=[1, 1, 1, 1])
    y = b.node("Relu", b.norm(y, 4, epsilon=1e-3))
    b.node("Conv", y, b.weight(2, 4, 1, 1), b.weight(2), out=f"t{task}")


def images(count: int, seed: int = 0, shape=IMAGE) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return [{"image": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def run(model: ir.Model, frame: Frame) -> list[np.ndarray]:
    """The graph's outputs in onnxruntime."""
    return _session(ir.to_proto(model).SerializeToString(deterministic=True)).run(None, dict(frame))


@lru_cache(maxsize=16)
def _session(proto: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(proto, options)
