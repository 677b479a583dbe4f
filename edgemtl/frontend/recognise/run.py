"""Part of a graph, run in onnxruntime on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgemtl.frontend.limits import why_not_run
from edgemtl.frontend.recognise.experts import NotRecognisedError
from edgemtl.frontend.values import is_constant, sizes_of

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From tokens [T, D] and logits [T, E] to the result [T, D]."""


def nodes_between(logits: ir.Value, x: ir.Value, end: ir.Value) -> list[ir.Node]:
    """What computes `end` from `logits` and `x`, in order; `NotRecognisedError` if it reads anything else."""
    found: dict[ir.Node, None] = {}
    todo, seen = [end], {logits, x}
    while todo:
        value = todo.pop()
        if value in seen or is_constant(value):
            continue
        seen.add(value)
        node = value.producer()
        if node is None:
            raise NotRecognisedError("it reads more than its tokens and its router's logits")
        found[node] = None
        todo += [v for v in node.inputs if v is not None]
    graph = next(iter(found)).graph
    nodes = [node for node in graph or () if node in found]
    if (reason := why_not_run(nodes, x, logits)) is not None:
        raise NotRecognisedError(reason)
    return nodes


def region_runner(nodes: list[ir.Node], x: ir.Value, logits: ir.Value, end: ir.Value, opset: int) -> Run:
    """A function that runs the nodes; `NotRecognisedError`, then and later, if onnxruntime cannot."""
    session = _checked(lambda: _session(nodes, (x, logits), end, opset))

    def run(tokens: np.ndarray, scores: np.ndarray) -> np.ndarray:
        given = ((x, tokens), (logits, scores))
        feeds = {f"{value.name}": array.reshape(sizes_of(value)) for value, array in given}
        result: np.ndarray = _checked(lambda: session.run(None, feeds)[0])
        return result.reshape(len(tokens), -1)

    return run


def _checked(work: Callable[[], Any]) -> Any:
    try:
        return work()
    # onnxruntime's errors share no base class.
    except Exception as error:
        first = str(error).splitlines()[0][:200]
        raise NotRecognisedError(f"onnxruntime cannot run its part of the graph ({first})") from error


def _session(
    nodes: list[ir.Node], inputs: tuple[ir.Value, ...], end: ir.Value, opset: int
) -> onnxruntime.InferenceSession:
    constants = {v.name: v.const_value for n in nodes for v in n.inputs if v is not None and is_constant(v)}
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node) for node in nodes],
        "region",
        [onnx.helper.make_tensor_value_info(f"{v.name}", 1, sizes_of(v)) for v in inputs],
        [onnx.helper.make_tensor_value_info(f"{end.name}", 1, sizes_of(end))],
        [ir.serde.serialize_tensor(tensor) for tensor in constants.values() if tensor is not None],
    )
    for tensor, name in zip(graph.initializer, constants, strict=True):
        tensor.name = name or ""
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
