"""The task's ONNX graph in onnxruntime, every node's value an output."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.compare.reading import Reading, route_logits
from edgemtl.frontend.moe_node import MoEAttributes, logits_of, moe_nodes
from edgemtl.graph import name_of, result
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Frame
from edgemtl.partition import TaskModel


class OnnxSide:
    """onnxruntime on what the partition left of one task."""

    def __init__(self, task: TaskModel) -> None:
        watched = task.ir.clone()
        graph = watched.graph
        known = set(graph.outputs)
        self._layers = {str(result(node).name): name_of(node) for node in graph}
        self._gates = {name_of(n): (str(logits_of(n).name), MoEAttributes.from_node(n)) for n in moe_nodes(watched)}
        graph.outputs.extend(value for node in graph if (value := result(node)) not in known)
        self._session = open_session(ir.to_proto(watched).SerializeToString())
        self._task = task

    def __call__(self, frame: Frame) -> Reading:
        """Every node's first output, and what each MoE node chooses from its logits."""
        names = [value.name for value in self._session.get_outputs()]
        values = dict(zip(names, self._session.run(names, self._task.feed(frame)), strict=True))
        layers = {layer: values[name] for name, layer in self._layers.items()}
        routers = {name: route_logits(values[logits], attributes) for name, (logits, attributes) in self._gates.items()}
        return Reading(layers, routers)
