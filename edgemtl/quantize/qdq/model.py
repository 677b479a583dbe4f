"""All tasks of a quantised model as one QDQ ONNX: its inputs, one output a task, what tasks share stored once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

import edgemtl
from edgemtl.errors import UnsupportedError
from edgemtl.frontend import InputSpec, Task
from edgemtl.frontend.metadata import SCHEMA_VERSION
from edgemtl.frontend.model import METADATA
from edgemtl.frontend.moe_node import DOMAIN, VERSION
from edgemtl.graph import dtype_of, shape_of
from edgemtl.lowering.ir import OUTPUT, Step
from edgemtl.partition import TaskModel
from edgemtl.quantize.build import IntegerTask
from edgemtl.quantize.qdq.graph import GraphBuilder, Value
from edgemtl.quantize.qdq.mixture import OPSET
from edgemtl.quantize.qdq.steps import write_task
from edgemtl.quantize.qdq.task import start
from edgemtl.tvm_bridge.generic import Generic

QUANTISED = "edgemtl.quantised"
"""Model metadata: JSON of `Origin`."""
IR_VERSION = 10
"""The first whose functions have overloads."""
MOST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Origin:
    """What a QDQ model was made from: file and SHA-256 of the float model, pathway, method and number of images."""

    model: str
    sha256: str
    pathway: str
    method: str
    images: int


def make_qdq(
    tasks: Sequence[TaskModel],
    floats: Mapping[str, Sequence[Step]],
    integers: Mapping[str, IntegerTask],
    origin: Origin,
) -> onnx.ModelProto:
    """The model; ``floats`` and ``integers`` are the steps of the same tasks. Raises UnsupportedError beyond 2 GiB."""
    specs = tasks[0].inputs
    graph = GraphBuilder({*(spec.name for spec in specs), *(task.task.output for task in tasks)})
    outputs = [_write(graph, task, floats[task.task.name], integers[task.task.name]) for task in tasks]
    _check_size(graph, origin)
    inputs = [_value_info(spec.name, spec.dtype, spec.shape) for spec in specs]
    onnx_graph = helper.make_graph(graph.nodes, "quantised", inputs, outputs, graph.initializers)
    imports = [helper.make_opsetid("", max([OPSET, *_opsets(integers)]))]
    if graph.functions:
        imports.append(helper.make_opsetid(DOMAIN, VERSION))
    model = helper.make_model(
        onnx_graph, opset_imports=imports, functions=list(graph.functions.values()), ir_version=IR_VERSION
    )
    model.producer_name, model.producer_version = "edgemtl", edgemtl.__version__
    described = {QUANTISED: _compact(asdict(origin))}
    # The metadata has room for one image.
    if images := [spec for spec in specs if spec.is_image]:
        described[METADATA] = _describe([task.task for task in tasks], images[0])
    helper.set_model_props(model, described)
    return model


def _opsets(integers: Mapping[str, IntegerTask]) -> Iterator[int]:
    """The opsets of nodes that are written as they are."""
    operators = (step.operator for task in integers.values() for step in task.steps)
    return (operator.call.opset for operator in operators if isinstance(operator, Generic))


def _write(graph: GraphBuilder, task: TaskModel, floats: Sequence[Step], integer: IntegerTask) -> onnx.ValueInfoProto:
    """One task's nodes; what its output is."""
    writer = start(graph, [Value(spec.name, spec.shape) for spec in task.inputs], floats, integer)
    write_task(writer)
    shape = shape_of(task.output)
    result = graph.real(graph.reshape(writer.values[OUTPUT], shape))
    name = graph.unused(f"{task.task.name}/output")
    graph.nodes.append(helper.make_node("Identity", [result.name], [task.task.output], name))
    return _value_info(task.task.output, dtype_of(task.output), shape)


def _value_info(name: str, dtype: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def _check_size(graph: GraphBuilder, origin: Origin) -> None:
    """protobuf's own limit, with what little there is besides weights."""
    size = sum(len(tensor.raw_data) for tensor in graph.initializers)
    if size > MOST_BYTES:
        reason = f"the weights of a QDQ model must stay below {MOST_BYTES} bytes, not {size}"
        raise UnsupportedError(origin.model, reason, "quantise fewer tasks at a time (--task)")


def _describe(tasks: Sequence[Task], spec: InputSpec) -> str:
    """What the exporter writes too, so that a reader knows tasks and normalisation."""
    image = {"name": spec.name, "mean": spec.mean, "std": spec.std, "resize_filter": spec.resize_filter}
    return _compact({"schema_version": SCHEMA_VERSION, "tasks": [asdict(task) for task in tasks], "input": image})


def _compact(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
