"""Tasks: the graph's outputs, described by the metadata or by their names."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.model import Task
from edgemtl.frontend.names import GUESSED, name_tasks

HINTS: tuple[tuple[str, tuple[str, ...], range], ...] = (
    ("segmentation", ("seg", "parts", "parsing"), range(2, 10_000)),
    ("depth", ("depth", "disparity"), range(1, 2)),
    ("normals", ("normal",), range(3, 4)),
    ("edges", ("edge", "boundar", "contour"), range(1, 2)),
    ("saliency", ("sal",), range(1, 3)),
)
"""Kind, parts of a name that suggest it, channels it can have."""


def name_outputs(graph: ir.Graph, metadata: Metadata | None, notes: list[str]) -> tuple[str, ...]:
    """The name of each output's task: from the metadata, or the output's own, made legal with a note."""
    written = {} if metadata is None else {task.output: task.name for task in metadata.tasks}
    return name_tasks([written.get(str(value.name), str(value.name)) for value in graph.outputs], notes)


def keep_tasks(graph: ir.Graph, names: tuple[str, ...], tasks: tuple[str, ...] | None) -> tuple[str, ...]:
    """Drop the outputs that no wanted task needs; the names of the others. `UsageError` for a task there is not."""
    if tasks is None:
        return names
    if not tasks or len(set(tasks)) != len(tasks) or not set(tasks) <= set(names):
        raise UsageError(f"tasks must be different ones of {', '.join(names)}, not {', '.join(tasks) or 'none'}")
    known = dict(zip(names, graph.outputs, strict=True))
    graph.outputs[:] = [known[task] for task in tasks]
    return tasks


def describe_tasks(
    graph: ir.Graph, names: tuple[str, ...], metadata: Metadata | None, notes: list[str]
) -> tuple[Task, ...]:
    """A task of each name for the graph's outputs, in order."""
    written = {task.output: task for task in metadata.tasks} if metadata is not None else {}
    outputs = zip(names, graph.outputs, strict=True)
    return tuple(_describe(name, value, written.get(str(value.name)), notes) for name, value in outputs)


def _describe(name: str, value: ir.Value, written: Task | None, notes: list[str]) -> Task:
    output, shape = str(value.name), value.shape
    assert shape is not None
    if value.dtype != ir.DataType.FLOAT:
        reason = f"it is {value.dtype}, and a task's output is float32"
        raise UnsupportedError(f"output {output}", reason, "leave argmax and the like out of the exported model")
    sizes = shape.numpy()
    channels = sizes[1] if len(sizes) > 1 else 1
    if written is not None:
        return Task(name, output, written.kind, channels)
    kind = _guess(name, channels)
    why = "of unknown kind" if kind == "other" else f"taken as {kind} by its name and channels ({channels})"
    notes.append(f"task {name}: {GUESSED} {why}")
    return Task(name, output, kind, channels)


def _guess(name: str, channels: int) -> str:
    lower = name.lower()
    for kind, parts, possible in HINTS:
        if channels in possible and any(part in lower for part in parts):
            return kind
    return "other"
