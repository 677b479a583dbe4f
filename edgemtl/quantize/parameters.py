"""What calibration found, as a file: ranges by layer name, channel extremes and bias corrections; plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import ConfigError, UsageError
from edgemtl.hw.law_weights4 import CodedWeight
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array
from edgemtl.options import WeightRules
from edgemtl.quantize.coded_file import CODED, RULES, describe_coded
from edgemtl.quantize.observe import ALL, Observation, Range, float_inputs
from edgemtl.records import Dialect, Field, check, members, parse_json, read

SCHEMA_VERSION = 3
DIALECT = Dialect(ignores_unknown=True)
MAX_FLOAT, MAX_INT64 = 1.7e308, (1 << 63) - 1


def _is_array(values: Any, kinds: tuple[type, ...], most: float) -> bool:
    return type(values) is list and all(type(value) in kinds and not abs(value) > most for value in values)


NUMBER = check("a number", lambda value: type(value) is float or _is_array([value], (int,), MAX_FLOAT), float)
"""Also an infinite one: the ratio of two outputs that are equal."""
STEP = check("the number of a step", lambda key: key.isdecimal() and len(key) < 10, int)
RANGE = check(
    "two numbers, a finite range that holds 0",
    lambda ends: _is_array(ends, (int, float), MAX_FLOAT) and len(ends) == 2 and ends[0] <= 0 <= ends[1],
    lambda ends: Range(*map(float, ends)),
)
FLOATS = check(
    "numbers", lambda values: _is_array(values, (int, float), MAX_FLOAT), lambda values: np.array(values, np.float64)
)
INTEGERS = check(
    "integers of 64 bits",
    lambda values: _is_array(values, (int,), MAX_INT64),
    lambda values: np.array(values, np.int64),
)


@dataclass(frozen=True)
class TaskEntry:
    """One task as the file describes it; layers: the origins of the float steps that it was observed in."""

    layers: tuple[str, ...]
    ranges: dict[str, Annotated[Range, RANGE]]
    channels: dict[Annotated[int, STEP], Annotated[Array, FLOATS]]
    corrections: dict[Annotated[int, STEP], Annotated[Array, INTEGERS]]


@dataclass(frozen=True)
class TaskParameters:
    """One task: what was observed, and what was added to each correctable bias (by integer step, in its own steps)."""

    seen: Observation
    corrections: Mapping[int, Array] = field(repr=False)


@dataclass(frozen=True)
class Parameters:
    """Everything the integers of a model are made from, besides the model: a file can be read, compared and kept.

    model: the SHA-256 of the ONNX file. pathway, keep_float, wide: what the tasks were lowered with. sqnr_db: how far
    the integer outputs lay from the float ones on the images kept for the check, per task; notes: what speaks against
    that; choices: what was chosen to reach a target or by rules, and what it costs. weights: the rules of
    `QuantiseOptions.weights`; coded: the weights in 4 bits that follow from them.
    """

    model: str
    pathway: str
    method: str
    images: int
    keep_float: tuple[str, ...]
    wide: tuple[str, ...]
    tasks: Mapping[str, TaskParameters]
    sqnr_db: Mapping[str, float]
    notes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    weights: Annotated[WeightRules, RULES] = ()
    coded: Annotated[Mapping[str, CodedWeight], CODED] = field(default_factory=dict, repr=False)


def write_parameters(path: Path, parameters: Parameters, steps: Mapping[str, Sequence[Step]]) -> None:
    """Write the file, which is half-written until this returns: write it aside. Raises OSError."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": parameters.model,
        "pathway": parameters.pathway,
        "method": parameters.method,
        "images": parameters.images,
        "keep_float": list(parameters.keep_float),
        "wide": list(parameters.wide),
        "sqnr_db": {task: round(value, 3) for task, value in parameters.sqnr_db.items()},
        "notes": list(parameters.notes),
        "choices": list(parameters.choices),
        "weights": [list(rule) for rule in parameters.weights],
        "coded": {key: describe_coded(weight) for key, weight in parameters.coded.items()},
        "tasks": {task: _task_document(part, steps[task]) for task, part in parameters.tasks.items()},
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _task_document(task: TaskParameters, steps: Sequence[Step]) -> dict[str, Any]:
    return {
        "layers": [step.origin[0] for step in steps],
        "ranges": {name: [ends.low, ends.high] for name, ends in task.seen.ranges.items()},
        "channels": {str(index): array.astype(float).tolist() for index, array in task.seen.channels.items()},
        "corrections": {str(index): array.astype(int).tolist() for index, array in task.corrections.items()},
    }


def read_parameters(path: Path, model: str, steps: Mapping[str, Sequence[Step]]) -> Parameters:
    """Read a file for the model with this SHA-256, lowered to these steps.

    Raises ConfigError for a file that is not one, UsageError for one of another model or of other tasks.
    """
    document = _open(path)
    try:
        tasks = members(Parameters, document)["tasks"].entries()
        entries = {task: read(TaskEntry, field) for task, field in tasks.items()}
        parameters = read(Parameters, document, tasks={task: _task(entry) for task, entry in entries.items()})
    except ConfigError as error:
        raise _damaged(path, error) from None
    if parameters.model != model:
        raise UsageError(f"{path}: must be of this model ({model[:12]}...), not of {parameters.model[:12]}...")
    if set(entries) != set(steps):
        raise UsageError(f"{path}: must hold tasks {', '.join(steps)}, not {', '.join(entries)}; quantise again")
    for task, lowered in steps.items():
        if entries[task].layers != tuple(step.origin[0] for step in lowered):
            raise UsageError(f"{path}: must hold task {task} with these layers; quantise again with the same options")
        if not _is_complete(parameters.tasks[task].seen, lowered) or task not in parameters.sqnr_db:
            raise ConfigError(f"{path}: must say what was observed of every layer of task {task}; make the file again")
    return parameters


def _task(entry: TaskEntry) -> TaskParameters:
    return TaskParameters(Observation(entry.ranges, entry.channels), entry.corrections)


def tasks_with(path: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """Every task a file of parameters holds: their scales were chosen together, so they are made together.

    Raises UsageError where one of ``asked`` is not among them. A file that cannot be read has none: its reader says it
    better.
    """
    try:
        names = tuple(_open(path).entries()["tasks"].entries())
    except (ConfigError, KeyError):
        return ()
    for task in asked:
        if task not in names:
            raise UsageError(f"--task must be one of {', '.join(names)} in {path}, not {task!r}")
    return names


def _open(path: Path) -> Field:
    """The file as a document of the one schema version. Raises ConfigError."""
    try:
        document = Field("", parse_json(path.read_bytes(), finite=False), DIALECT)
        version = document.entries()["schema_version"].value
    except KeyError:
        raise _damaged(path, "it has no schema_version") from None
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise _damaged(path, error) from None
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version must be {SCHEMA_VERSION}, not {version!r}; make the file again")
    return document


def _damaged(path: Path, reason: object) -> ConfigError:
    return ConfigError(f"{path}: must be a file of integer parameters, {reason}; make it with `edgemtl quantize`")


def _is_complete(seen: Observation, steps: Sequence[Step]) -> bool:
    """Whether an observation holds what `observe` sees of these steps."""
    names = {*float_inputs(steps), *(f"{index}{part}" for index in range(len(steps)) for part in ("", ALL))}
    names |= {f"{index}.{part}" for index, step in enumerate(steps) for part in step.operator.parts}
    widths = {index: step.operator.dim for index, step in enumerate(steps) if isinstance(step.operator, ops.LayerNorm)}
    good = all(np.isfinite(array).all() and (array >= 0).all() for array in seen.channels.values())
    return (
        names == set(seen.ranges)
        and good
        and {i: c.shape for i, c in seen.channels.items()} == {index: (width,) for index, width in widths.items()}
    )
