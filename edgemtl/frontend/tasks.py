"""Tasks: the graph's outputs, described by the metadata or by their names."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.model import Task

HINTS: tuple[tuple[str, tuple[str, ...], range], ...] = (
    ("segmentation", ("seg", "parts", "parsing"), range(2, 10_000)),
    ("depth", ("depth", "disparity"), range(1, 2)),
    ("normals", ("normal",), range(3, 4)),
    ("edges", ("edge", "boundar", "contour"), range(1, 2)),
    ("saliency", ("sal",), range(1, 3)),
)
"""Kind, parts of a name that suggest it, channels it can have."""


def keep_tasks(graph: ir.Graph, metadata: Metadata | None, tasks: tuple[str, ...] | None) -> None:
    """Drop the outputs that no wanted task needs; `UsageError` for a task the model does not have."""
    names = _names(metadata)
    known = {names.get(str(value.name), str(value.name)): value for value in graph.outputs}
    if tasks is None:
        return
    if not tasks or len(set(tasks)) != len(tasks) or not set(tasks) <= set(known):
        raise UsageError(f"tasks must be different ones of {', '.join(known)}, not {', '.join(tasks) or 'none'}")
    graph.outputs[:] = [known[task] for task in tasks]


def _names(metadata: Metadata | None) -> dict[str, str]:
    return {} if metadata is None else {task.output: task.name for task in metadata.tasks}


def describe_tasks(graph: ir.Graph, metadata: Metadata | None, notes: list[str]) -> tuple[Task, ...]:
    """A task for every output, in order."""
    written = {task.output: task for task in metadata.tasks} if metadata is not None else {}
    return tuple(_describe(value, written.get(str(value.name)), notes) for value in graph.outputs)


def _describe(value: ir.Value, written: Task | None, notes: list[str]) -> Task:
    name, shape = str(value.name), value.shape
    assert shape is not None
    if value.dtype != ir.DataType.FLOAT:
        reason = f"it is {value.dtype}, and a task's output is float32"
        raise UnsupportedError(f"output {name}", reason, "leave argmax and the like out of the exported model")
    sizes = shape.numpy()
    channels = sizes[1] if len(sizes) > 1 else 1
    if written is not None:
        return Task(written.name, name, written.kind, channels)
    kind = _guess(name, channels)
    why = "of unknown kind" if kind == "other" else f"taken as {kind} by its name and channels ({channels})"
    notes.append(f"task {name}: an output of the graph, {why}")
    return Task(name, name, kind, channels)


def _guess(name: str, channels: int) -> str:
    lower = name.lower()
    for kind, parts, possible in HINTS:
        if channels in possible and any(part in lower for part in parts):
            return kind
    return "other"
