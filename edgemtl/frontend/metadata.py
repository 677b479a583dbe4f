"""What the exporter wrote into the file about tasks and input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgemtl.errors import ConfigError, ModelError
from edgemtl.frontend.model import METADATA, Task
from edgemtl.records import Dialect, Field, parse_json, read
from edgemtl.vocabulary import DEFAULT_FILTER, RESIZE_FILTERS

if TYPE_CHECKING:
    import onnx_ir as ir

SCHEMA_VERSION = 1
DIALECT = Dialect(has_defaults=True, ignores_unknown=True)
"""The exporter says more of the model than a reader needs."""


@dataclass(frozen=True)
class InputMetadata:
    """The name of the image input, its normalisation and the filter that resizes pictures."""

    name: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    resize_filter: str = DEFAULT_FILTER


@dataclass(frozen=True)
class Metadata:
    """Tasks in order, and the image input."""

    tasks: tuple[Task, ...]
    input: InputMetadata


def read_metadata(model: ir.Model) -> Metadata | None:
    """The model's metadata, None where a stranger made it; `ModelError` where it is damaged."""
    text = model.metadata_props.get(METADATA)
    return None if text is None else parse_metadata(text)


def parse_metadata(text: str) -> Metadata:
    """The metadata in ``text``. Raises ModelError where it is not what the exporter writes."""
    try:
        field = Field("metadata", parse_json(text), DIALECT)
        if (version := field.entries()["schema_version"].value) != SCHEMA_VERSION:
            raise ModelError(f"metadata must be of schema version {SCHEMA_VERSION}, not {version!r}; export again")
        metadata = read(Metadata, field)
        if _has_twins(metadata.tasks):
            field.fail("made of tasks that differ")
    except (ConfigError, KeyError, ValueError, RecursionError) as error:
        raise ModelError(f"metadata {METADATA!r} must be what the exporter writes, not {text[:80]!r}") from error
    if metadata.input.resize_filter not in RESIZE_FILTERS:
        raise ModelError(
            f"metadata of input {metadata.input.name} must have a resize_filter of {', '.join(RESIZE_FILTERS)}, "
            f"not {metadata.input.resize_filter!r}; update edgemtl, or give --resize-filter to the export"
        )
    return metadata


def _has_twins(tasks: tuple[Task, ...]) -> bool:
    """Whether two tasks have one name or one output."""
    return len({task.name for task in tasks}) < len(tasks) or len({task.output for task in tasks}) < len(tasks)
