"""What the exporter wrote into the file about tasks and input."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.frontend.model import METADATA, Task
from edgemtl.vocabulary import DEFAULT_FILTER, KINDS, RESIZE_FILTERS

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """Tasks in order, the name of the image input, its normalisation and the filter that resizes pictures."""

    tasks: tuple[Task, ...]
    input: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    resize_filter: str


def read_metadata(model: ir.Model) -> Metadata | None:
    """The model's metadata, None where a stranger made it; `ModelError` where it is damaged."""
    text = model.metadata_props.get(METADATA)
    if text is None:
        return None
    try:
        document = json.loads(text)
        version = document["schema_version"]
        if version != SCHEMA_VERSION:
            raise ModelError(f"metadata must be of schema version {SCHEMA_VERSION}, not {version!r}; export again")
        return _parse(document)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"metadata {METADATA!r} must be what the exporter writes, not {text[:80]!r}") from error


def _parse(document: dict[str, Any]) -> Metadata:
    tasks = tuple(_task(entry) for entry in document["tasks"])
    for names in ([task.name for task in tasks], [task.output for task in tasks]):
        if len(set(names)) != len(names):
            raise ValueError("tasks must differ")
    image = document["input"]
    resize_filter = image.get("resize_filter", DEFAULT_FILTER)
    if resize_filter not in RESIZE_FILTERS:
        raise ModelError(
            f"metadata of input {image['name']} must have a resize_filter of {', '.join(RESIZE_FILTERS)}, "
            f"not {resize_filter!r}; update edgemtl, or give --resize-filter to the export"
        )
    return Metadata(tasks, str(image["name"]), _numbers(image["mean"]), _numbers(image["std"]), resize_filter)


def _task(entry: dict[str, Any]) -> Task:
    name, output, kind, channels = (entry[field] for field in ("name", "output", "kind", "channels"))
    good = isinstance(name, str) and name and isinstance(output, str) and isinstance(channels, int)
    if not good or kind not in KINDS:
        raise ValueError("a task must have a name, an output, a kind and channels")
    return Task(name, output, kind, channels, _names(entry.get("classes", [])))


def _names(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("class names must be a list of strings")
    return tuple(values)


def _numbers(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
