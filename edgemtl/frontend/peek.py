"""The names of a model's tasks without reading the model in full: a misspelt name is refused in a moment."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgemtl.errors import ModelError
from edgemtl.frontend.files import MAX_FILE_BYTES
from edgemtl.frontend.metadata import parse_metadata
from edgemtl.frontend.model import METADATA
from edgemtl.frontend.names import legal_names


def peek_tasks(path: Path) -> dict[str, str] | None:
    """By the name that each task will have, the name of its output in the file.

    None where the file does not say it by itself: where it is damaged, or has a second input, which may stand for a
    task. Reading the model in full then says what is wrong.
    """
    proto = onnx.ModelProto()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        proto.ParseFromString(path.read_bytes())
        written = _written_names(proto)
    except (OSError, DecodeError, ValueError, ModelError):
        return None
    outputs = [value.name for value in proto.graph.output]
    initializers = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value.name for value in proto.graph.input if value.name not in initializers]
    if len(inputs) != 1 or len(set(outputs)) < len(outputs):
        return None
    return dict(zip(legal_names([written.get(name, name) for name in outputs]), outputs, strict=True))


def _written_names(proto: onnx.ModelProto) -> dict[str, str]:
    """By output, what the exporter's metadata calls the task."""
    for entry in proto.metadata_props:
        if entry.key == METADATA:
            return {task.output: task.name for task in parse_metadata(entry.value).tasks}
    return {}
