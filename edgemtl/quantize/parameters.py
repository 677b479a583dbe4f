"""What calibration found, as a file: ranges by layer name, channel extremes and bias corrections; plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import ConfigError, UsageError
from edgemtl.lowering.ir import IMAGE, Step
from edgemtl.operators import Array
from edgemtl.quantize.observe import ALL, Observation, Range

SCHEMA_VERSION = 1
DAMAGE = OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError
"""What reading a file that is no file of parameters may run into."""


@dataclass(frozen=True)
class TaskParameters:
    """One task: what was observed, and what was added to each correctable bias (by integer step, in its own steps)."""

    seen: Observation
    corrections: Mapping[int, Array] = field(repr=False)


@dataclass(frozen=True)
class Parameters:
    """Everything the integers of a model are made from, besides the model: a file can be read, compared and kept.

    model: the SHA-256 of the ONNX file. pathway, keep_float: what the tasks were lowered with. sqnr_db: how far the
    integer outputs lay from the float ones on the images kept for the check, per task; notes: what speaks against that.
    """

    model: str
    pathway: str
    method: str
    images: int
    keep_float: tuple[str, ...]
    tasks: Mapping[str, TaskParameters]
    sqnr_db: Mapping[str, float]
    notes: tuple[str, ...] = ()


def write_parameters(path: Path, parameters: Parameters, steps: Mapping[str, Sequence[Step]]) -> None:
    """Write the file, which is half-written until this returns: write it aside. Raises OSError."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": parameters.model,
        "pathway": parameters.pathway,
        "method": parameters.method,
        "images": parameters.images,
        "keep_float": list(parameters.keep_float),
        "sqnr_db": {task: round(value, 3) for task, value in parameters.sqnr_db.items()},
        "notes": list(parameters.notes),
        "tasks": {task: _task_document(held, steps[task]) for task, held in parameters.tasks.items()},
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _task_document(held: TaskParameters, steps: Sequence[Step]) -> dict[str, Any]:
    return {
        "layers": [step.origin[0] for step in steps],
        "ranges": {name: [found.low, found.high] for name, found in held.seen.ranges.items()},
        "channels": {str(index): array.astype(float).tolist() for index, array in held.seen.channels.items()},
        "corrections": {str(index): array.astype(int).tolist() for index, array in held.corrections.items()},
    }


def read_parameters(path: Path, model: str, steps: Mapping[str, Sequence[Step]]) -> Parameters:
    """Read a file for the model with this SHA-256, lowered to these steps.

    Raises ConfigError for a file that is not one, UsageError for one of another model or of other tasks.
    """
    try:
        document = json.loads(path.read_text())
        version = document["schema_version"]
        held = _parse(document)
        layers = {task: entry["layers"] for task, entry in document["tasks"].items()}
    except DAMAGE as error:
        raise ConfigError(
            f"{path}: must be a file of integer parameters, {type(error).__name__}: {error}; "
            "make it with `edgemtl quantize`"
        ) from None
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version must be {SCHEMA_VERSION}, not {version!r}; make the file again")
    if held.model != model:
        raise UsageError(f"{path}: must be of this model ({model[:12]}...), not of {str(held.model)[:12]}...")
    if set(layers) != set(steps):
        raise UsageError(f"{path}: must hold tasks {', '.join(steps)}, not {', '.join(layers)}; quantise again")
    for task, lowered in steps.items():
        if layers.get(task) != [step.origin[0] for step in lowered]:
            raise UsageError(f"{path}: must hold task {task} with these layers; quantise again with the same options")
        if not _is_complete(held.tasks[task].seen, lowered) or task not in held.sqnr_db:
            raise ConfigError(f"{path}: must say what was observed of every layer of task {task}; make the file again")
    return held


def tasks_with(path: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """Every task a file of parameters holds: their scales were chosen together, so they are made together.

    Raises UsageError where one of ``asked`` is not among them. A file that cannot be read has none: its reader says it
    better.
    """
    try:
        held = tuple(map(str, json.loads(path.read_text())["tasks"]))
    except DAMAGE:
        return ()
    for task in asked:
        if task not in held:
            raise UsageError(f"--task must be one of {', '.join(held)} in {path}, not {task!r}")
    return held


def _is_complete(seen: Observation, steps: Sequence[Step]) -> bool:
    """Whether an observation holds what `observe` sees of these steps."""
    names = {IMAGE, *(f"{index}{part}" for index in range(len(steps)) for part in ("", ALL))}
    names |= {f"{index}.{part}" for index, step in enumerate(steps) for part in step.operator.parts}
    widths = {index: step.operator.dim for index, step in enumerate(steps) if isinstance(step.operator, ops.LayerNorm)}
    good = all(np.isfinite(array).all() and (array >= 0).all() for array in seen.channels.values())
    return (
        names == set(seen.ranges)
        and good
        and {i: c.shape for i, c in seen.channels.items()} == {index: (width,) for index, width in widths.items()}
    )


def _parse(document: dict[str, Any]) -> Parameters:
    return Parameters(
        model=str(document["model"]),
        pathway=str(document["pathway"]),
        method=str(document["method"]),
        images=int(document["images"]),
        keep_float=tuple(map(str, document["keep_float"])),
        tasks={task: _parse_task(entry) for task, entry in document["tasks"].items()},
        sqnr_db={task: float(value) for task, value in document["sqnr_db"].items()},
        notes=tuple(map(str, document["notes"])),
    )


def _parse_task(entry: dict[str, Any]) -> TaskParameters:
    ranges = {name: Range(float(low), float(high)) for name, (low, high) in entry["ranges"].items()}
    if not all(math.isfinite(r.low) and math.isfinite(r.high) and r.low <= 0 <= r.high for r in ranges.values()):
        raise ValueError("a range must be finite and hold 0")
    channels = {int(index): np.array(values, np.float64) for index, values in entry["channels"].items()}
    corrections = {int(index): np.array(values, np.int64) for index, values in entry["corrections"].items()}
    return TaskParameters(Observation(ranges, channels), corrections)
