"""Part of a graph, run in onnxruntime on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgemtl.frontend.limits import why_not_run
from edgemtl.frontend.recognise.experts import NotRecognisedError
from edgemtl.frontend.recognise.region import ExpertChoice
from edgemtl.graph import array_of, is_constant, shape_of
from edgemtl.onnx_runtime import open_session

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From tokens [T, D] and the router's logits or weights [T, E] to the result [T, D]."""


def nodes_between(router: ExpertChoice, x: ir.Value, end: ir.Value) -> list[ir.Node]:
    """What computes `end` from the router's values and `x`, in order; `NotRecognisedError` if it reads more."""
    between: dict[ir.Node, None] = {}
    todo, seen = [end], {*router.values, x}
    while todo:
        value = todo.pop()
        if value in seen or is_constant(value):
            continue
        seen.add(value)
        node = value.producer()
        if node is None:
            raise NotRecognisedError(f"it reads more than its tokens and its router's {router.form}")
        between[node] = None
        todo += [v for v in node.inputs if v is not None]
    read = {value for node in between for value in node.inputs}
    if not read.issuperset(router.values):
        raise NotRecognisedError(f"it does not read all of its router's {router.form}")
    graph = next(iter(between)).graph
    nodes = [node for node in graph or () if node in between]
    if (reason := why_not_run(nodes, shape_of(x)[-1], router.tokens, router.columns)) is not None:
        raise NotRecognisedError(reason)
    return nodes


@dataclass(frozen=True)
class Region:
    """Part of a graph: the nodes that compute `end` from `x` and the router's values, in order, and their opset."""

    nodes: tuple[ir.Node, ...]
    x: ir.Value
    router: ExpertChoice
    end: ir.Value
    opset: int


def region_runner(region: Region, replaced: Mapping[ir.Value, np.ndarray]) -> Run:
    """A function that runs the region; `NotRecognisedError`, then and later, if onnxruntime cannot.

    replaced: constants to run it with in the place of its own.
    """
    session, x, router = _checked(lambda: _session(region, replaced)), region.x, region.router

    def run(tokens: np.ndarray, routing: np.ndarray) -> np.ndarray:
        feeds = {f"{x.name}": tokens.reshape(shape_of(x)), **router.feeds(routing)}
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


def _session(region: Region, replaced: Mapping[ir.Value, np.ndarray]) -> Any:
    constants = {v: _constant(v, replaced) for n in region.nodes for v in n.inputs if v is not None and is_constant(v)}
    inputs, end = (region.x, *region.router.values), region.end
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node) for node in region.nodes],
        "region",
        [onnx.helper.make_tensor_value_info(f"{v.name}", int(v.dtype or 1), shape_of(v)) for v in inputs],
        [onnx.helper.make_tensor_value_info(f"{end.name}", 1, shape_of(end))],
        list(constants.values()),
    )
    opset = onnx.helper.make_opsetid("", region.opset)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return open_session(model.SerializeToString())


def _constant(value: ir.Value, replaced: Mapping[ir.Value, np.ndarray]) -> onnx.TensorProto:
    array = replaced[value] if value in replaced else array_of(value)
    assert array is not None
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), value.name)
