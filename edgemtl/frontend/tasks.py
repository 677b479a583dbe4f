"""Tasks: the graph's outputs, described by the metadata or by their names."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError, UsageError
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.model import Task
from edgemtl.frontend.names import GUESSED, RECORDED, name_tasks
from edgemtl.frontend.passes import Notes
from edgemtl.graph import dtype_of
from edgemtl.vocabulary import OUTPUT_DTYPES, count_names, describe_shape, fits_kind

HINTS: dict[str, tuple[str, ...]] = {
    "segmentation": ("seg", "parts", "parsing"),
    "depth": ("depth", "disparity"),
    "normals": ("normal",),
    "edges": ("edge", "boundar", "contour"),
    "saliency": ("sal",),
    "classification": ("class", "cls", "logit", "label"),
}
"""Kind, and parts of a name that suggest it where the shape allows it."""


def name_outputs(graph: ir.Graph, metadata: Metadata | None) -> tuple[tuple[str, ...], Notes]:
    """The name of each output's task: from the metadata, or the output's own, made legal with a note."""
    written = {} if metadata is None else {task.output: task.name for task in metadata.tasks}
    return name_tasks([written.get(str(value.name), str(value.name)) for value in graph.outputs])


def keep_tasks(graph: ir.Graph, names: tuple[str, ...], tasks: tuple[str, ...] | None) -> tuple[str, ...]:
    """Drop the outputs that no task asked for needs; the names of the others. `UsageError` for a task there is not."""
    if tasks is None:
        return names
    if not tasks or len(set(tasks)) != len(tasks) or not set(tasks) <= set(names):
        raise UsageError(f"tasks must be different ones of {', '.join(names)}, not {', '.join(tasks) or 'none'}")
    known = dict(zip(names, graph.outputs, strict=True))
    graph.outputs[:] = [known[task] for task in tasks]
    return tasks


def describe_tasks(
    graph: ir.Graph, names: tuple[str, ...], metadata: Metadata | None
) -> tuple[tuple[Task, ...], Notes]:
    """A task of each name for the graph's outputs, in order, and a note on each that was not taken as recorded."""
    written = {task.output: task for task in metadata.tasks} if metadata is not None else {}
    outputs = zip(names, graph.outputs, strict=True)
    described = [_describe(name, value, written.get(str(value.name))) for name, value in outputs]
    return tuple(task for task, _ in described), tuple(note for _, notes in described for note in notes)


def _describe(name: str, value: ir.Value, written: Task | None) -> tuple[Task, Notes]:
    output, shape = str(value.name), value.shape
    assert shape is not None
    if dtype_of(value) not in OUTPUT_DTYPES:
        reason = f"it is {value.dtype}, and a task's output is {', '.join(OUTPUT_DTYPES)}"
        raise UnsupportedError(f"output {output}", reason, "cast it to one of these types before exporting")
    sizes = shape.numpy()
    channels = sizes[1] if len(sizes) > 1 else 1
    if value.dtype != ir.DataType.FLOAT:
        # Kinds say what maps and scores in float32 mean.
        return Task(name, output, "other", channels), (f"task {name}: {GUESSED} {dtype_of(value)}, of no kind",)
    if written is not None:
        return _as_written(Task(name, output, written.kind, channels, written.classes), sizes)
    kind = _guess(name, sizes)
    why = "of unknown kind" if kind == "other" else f"taken as {kind} by its name and channels ({channels})"
    return Task(name, output, kind, channels), (f"task {name}: {GUESSED} {why}",)


def _as_written(task: Task, sizes: tuple[int, ...]) -> tuple[Task, Notes]:
    """The task as the metadata has it; `ModelError` for class names of another number than classes."""
    if not fits_kind(task.kind, sizes):
        must = describe_shape(task.kind)
        why = f"{RECORDED} {task.kind}, which is {must}, not {list(sizes)}; taken as other"
        return replace(task, kind="other", classes=()), (f"task {task.name}: {why}",)
    if task.classes and len(task.classes) != (count := count_names(task.kind, sizes)):
        raise ModelError(
            f"metadata of task {task.name} must have {count} class names, not {len(task.classes)}; export again"
        )
    return task, ()


def _guess(name: str, sizes: tuple[int, ...]) -> str:
    """The kind that parts of the name suggest, where the shape allows it."""
    lower = name.lower()
    for kind, parts in HINTS.items():
        if fits_kind(kind, sizes) and any(part in lower for part in parts):
            return kind
    return "other"
