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
from edgemtl.merge.image import SharedImage
from edgemtl.merge.join import Joined
from edgemtl.merge.names import name_apart
from edgemtl.merge.sources import Source

LEAST_IR_VERSION = 10
"""The first with 4-bit integers; every onnxruntime that is supported reads it."""


def assemble(sources: Sequence[Source], shared: SharedImage, image: ir.Value, joined: Joined) -> onnx.ModelProto:
    """One model with ``image`` as its input and an output for each task, in order of the sources.

    Raises ModelError for other domains of operators in two versions.
    """
    tasks = [task.name for source in sources for task in source.tasks]
    image.name = _free(shared.spec.name, tasks)
    name_apart(joined.nodes, joined.constants, [source.tasks[0].name for source in sources], {image.name, *tasks})
    returned = [value for values in joined.outputs for value in values]
    shapes = [shape for source in sources for shape in source.shapes]
    nodes, outputs = [*joined.nodes], []
    for task, value, shape in zip(tasks, returned, shapes, strict=True):
        if value.producer() is None or value in outputs:
            copy = ir.node("Identity", [value], name=f"{task}/Identity")
            nodes.append(copy)
            value = result(copy)
        value.name, value.shape, value.type = task, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
        outputs.append(value)
    graph = ir.Graph([image], outputs, nodes=nodes, initializers=[*joined.constants], name="merged")
    model = ir.Model(graph, ir_version=_ir_version(sources), producer_name="edgemtl")
    model.producer_version = edgemtl.__version__
    graph.opset_imports.update(_opsets(sources))
    attach_functions(model)
    if document := _metadata(sources, shared, image.name):
        model.metadata_props[METADATA] = document
    _drop_remarks(model)
    return _to_proto(model)


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _ir_version(sources: Sequence[Source]) -> int:
    return max(LEAST_IR_VERSION, *(source.model.ir_version for source in sources))


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


def _metadata(sources: Sequence[Source], shared: SharedImage, image: str) -> str | None:
    """What the files record, and the normalisation where it is known; None where that is nothing."""
    tasks = [
        {"name": task.name, "output": task.name, "kind": task.kind, "channels": task.channels, "classes": task.classes}
        for source in sources
        for task in _recorded(source)
    ]
    spec = shared.spec
    if not tasks and spec.mean is None:
        return None
    entry = {"name": image, "mean": spec.mean, "std": spec.std, "resize_filter": spec.resize_filter}
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
