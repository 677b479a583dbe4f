"""The joined parts as one ONNX model with the names and the metadata that the compiler reads tasks from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

import edgemtl
from edgemtl.errors import ModelError
from edgemtl.frontend import Task
from edgemtl.frontend.files import MAX_FILE_BYTES
from edgemtl.frontend.metadata import SCHEMA_VERSION
from edgemtl.frontend.model import METADATA, ORIGIN
from edgemtl.frontend.moe_node import attach_functions
from edgemtl.graph import result
from edgemtl.merge.inputs import SharedInputs
from edgemtl.merge.join import Joined
from edgemtl.merge.names import name_apart, name_inputs
from edgemtl.merge.sources import Result, Source

LEAST_IR_VERSION = 10
"""The first with 4-bit integers; every onnxruntime that is supported reads it."""


def assemble(
    sources: Sequence[Source], shared: SharedInputs, inputs: Sequence[ir.Value], joined: Joined
) -> onnx.ModelProto:
    """One model with ``inputs`` and an output for each task, in order of the sources.

    Raises ModelError for other domains of operators in two versions, and for more than one file can hold.
    """
    tasks = [task.name for source in sources for task in source.tasks]
    names = name_inputs([spec.name for spec in shared.specs], tasks)
    for value, name in zip(inputs, names, strict=True):
        value.name = name
    name_apart(joined.nodes, joined.constants, [source.tasks[0].name for source in sources], {*names, *tasks})
    outputs = _outputs(tasks, joined, [result for source in sources for result in source.results])
    copies = [value.producer() for value in outputs if value.producer() not in joined.nodes]
    nodes = [*joined.nodes, *(copy for copy in copies if copy is not None)]
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=[*joined.constants], name="merged")
    graph.opset_imports.update(_opsets(sources))
    version = max(LEAST_IR_VERSION, *(source.model.ir_version for source in sources))
    model = ir.Model(graph, ir_version=version, producer_name="edgemtl", producer_version=edgemtl.__version__)
    attach_functions(model)
    if document := _metadata(sources, shared, names):
        model.metadata_props[METADATA] = document
    _drop_remarks(model)
    return _to_proto(model)


def _outputs(tasks: Sequence[str], joined: Joined, results: Sequence[Result]) -> list[ir.Value]:
    """What each task returns, under its name: a copy of what another one returns, or of an input, by an Identity."""
    outputs: list[ir.Value] = []
    returned = [value for values in joined.outputs for value in values]
    for task, value, of in zip(tasks, returned, results, strict=True):
        own = value
        if value.producer() is None or value in outputs:
            own = result(ir.node("Identity", [value], name=f"{task}/Identity"))
        own.name, own.shape, own.type = task, ir.Shape(of.shape), ir.TensorType(of.dtype)
        outputs.append(own)
    return outputs


def _opsets(sources: Sequence[Source]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for source in sources:
        for domain, version in source.model.opset_imports.items():
            if versions.setdefault(domain, version) != version:
                raise ModelError(
                    f"{source.path} must use version {versions[domain]} of the operators of {domain}, as the files "
                    f"before it do, not {version}; export all files with the same tools"
                )
    return versions


def _metadata(sources: Sequence[Source], shared: SharedInputs, names: Sequence[str]) -> str | None:
    """What the files record, and the normalisation where it is known; None where that is nothing."""
    tasks = [
        {"name": task.name, "output": task.name, "kind": task.kind, "channels": task.channels, "classes": task.classes}
        for source in sources
        for task in _recorded(source)
    ]
    images = [(name, spec) for name, spec in zip(names, shared.specs, strict=True) if spec.is_image]
    name, spec = next(((name, of) for name, of in images if of.mean is not None), (names[0], shared.specs[0]))
    if not tasks and spec.mean is None:
        return None
    entry = {"name": name, "mean": spec.mean, "std": spec.std, "resize_filter": spec.resize_filter}
    document = {"schema_version": SCHEMA_VERSION, "tasks": tasks, "input": entry}
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _recorded(source: Source) -> Iterator[Task]:
    known = {task.output for task in source.metadata.tasks} if source.metadata is not None else set()
    return (task for task, output in zip(source.tasks, source.outputs, strict=True) if output in known)


def _drop_remarks(model: ir.Model) -> None:
    """What exporters note on nodes and values, except which module of torch a node is from."""
    for node in model.graph.all_nodes():
        origin = node.metadata_props.get(ORIGIN)
        node.metadata_props.clear()
        if origin:
            node.metadata_props[ORIGIN] = origin
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _to_proto(model: ir.Model) -> onnx.ModelProto:
    """Without the types of values inside, which follow from the rest; ModelError where one file cannot hold it."""
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size <= MAX_FILE_BYTES:
        proto = ir.to_proto(model)
        del proto.graph.value_info[:]
        if proto.ByteSize() <= MAX_FILE_BYTES:
            return proto
    raise ModelError(f"the merged model must fit into one file of {MAX_FILE_BYTES} bytes, and has {size} of weights")
