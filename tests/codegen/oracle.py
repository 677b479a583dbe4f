"""What a task's graph computes, by onnxruntime, and whether its routers decide clearly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgemtl.frontend.moe_node import MoEAttributes, moe_nodes
from edgemtl.operators import Frame
from edgemtl.partition import TaskModel

MARGIN = 1e-5
"""Two fp32 programs may order probabilities closer than this differently."""


def run(task: TaskModel, inputs: np.ndarray | Frame, *values: str) -> list[np.ndarray]:
    """The output of a task, or the named values of its graph."""
    model = ir.to_proto(task.ir)
    model.graph.output.extend(ir.to_proto(v) for v in _values(task, values))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feeds = dict(inputs) if isinstance(inputs, Mapping) else {task.ir.graph.inputs[0].name: inputs}
    return session.run(list(values) or None, feeds)


def _values(task: TaskModel, names: tuple[str, ...]) -> list[ir.Value]:
    return [value for node in task.ir.graph for value in node.outputs if value.name in names]


def decides_clearly(task: TaskModel, image: np.ndarray | Frame) -> bool:
    """Whether no token's last chosen expert is within MARGIN of the first it left out."""
    nodes = list(moe_nodes(task.ir))
    logits = run(task, image, *(node.inputs[1].name for node in nodes)) if nodes else []
    return all(_gap(MoEAttributes.from_node(n), z) > MARGIN for n, z in zip(nodes, logits, strict=True))


def _gap(attributes: MoEAttributes, logits: np.ndarray) -> float:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    p = powers / powers.sum(-1, keepdims=True)
    ranked = -np.sort(-p[:, list(attributes.experts or range(p.shape[1]))], axis=-1)
    gaps = [float((ranked[:, j] - ranked[:, j + 1]).min()) for j in range(ranked.shape[1] - 1) if j < attributes.k]
    return gaps[attributes.k - 1] if len(gaps) >= attributes.k else 1.0
