"""The verb merge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.files import check_model
from edgemtl.cli.flags import Json, MinSqnr, ShapeList, numbers, shapes
from edgemtl.errors import UsageError
from edgemtl.merge_options import MergeInput, MergeOptions
from edgemtl.paths import check_output_file
from edgemtl.suggest import one_of
from edgemtl.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.merge import MergedTask, MergeResult

Models = Annotated[
    list[Path] | None,
    typer.Argument(help="ONNX models of one task each, with one trunk.", metavar="MODEL.onnx ..."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Multi-task model to write.", metavar="ALL.onnx")]
Named = Annotated[
    list[str] | None,
    typer.Option("--task", help="NAME=FILE: name the task of a model. Default: the file's name; repeatable."),
]
Tolerance = Annotated[
    float,
    typer.Option("--tolerance", help="Share weights that differ by at most this part of the tensor's largest weight."),
]
Deltas = Annotated[
    int | None,
    typer.Option("--deltas", help="Store fine-tuned weights as differences of this many bits: 8 or 4."),
]
Means = Annotated[
    list[str] | None,
    typer.Option("--mean", help="Input mean per channel where a model records none; TASK=MEAN for one; repeatable."),
]
Stds = Annotated[
    list[str] | None,
    typer.Option("--std", help="Input standard deviation per channel, in the same way; repeatable."),
]


def merge(
    output: Output,
    models: Models = None,
    task: Named = None,
    tolerance: Tolerance = 0.0,
    deltas: Deltas = None,
    min_sqnr: MinSqnr = 15.0,
    mean: Means = None,
    std: Stds = None,
    shape: ShapeList = None,
    json: Json = False,
) -> None:
    """Merge models of one task each into one multi-task model whose common trunk is stored and run once."""
    files = normalise_files(name_files(models or (), task or ()), mean or (), std or ())
    options = MergeOptions(tolerance, deltas, min_sqnr, shapes(shape))
    check_output_file("-o", output, [file.path for file in files])
    for file in files:
        check_model(file.path)
    # Not through the driver, which imports the compiler.
    from edgemtl.merge import merge_models

    result = merge_models(files, options, output, step)
    for text in result.notes:
        note(f"note: {text}")
    emit(result.to_json(), json, lambda console: _draw(console, result))


def name_files(models: Sequence[Path], named: Iterable[str]) -> list[tuple[str, Path]]:
    """The task's name and the path of each model, in order; those that only ``named``, NAME=FILE, gives come last.

    Raises UsageError for another form, for a name that no task can have or that two have, and for fewer than two.
    """
    from edgemtl.frontend.names import RULE, is_legal

    names: dict[Path, str] = {}
    for text in named:
        name, _, file = text.partition("=")
        if not file:
            raise UsageError(f"--task must be NAME=FILE, not {text!r}")
        if not is_legal(name):
            raise UsageError(f"--task {text}: the name must have {RULE}, not {name!r}")
        if name in names.values() or Path(file) in names:
            raise UsageError(f"--task must give every name and every file once, not {text!r} again")
        names[Path(file)] = name
    paths = [*models, *(path for path in names if path not in models)]
    if len(paths) < 2:
        raise UsageError(f"merge must be given two models at least, not {len(paths)}; see `edgemtl merge --help`")
    for path in paths:
        if path not in names and path.stem in names.values():
            raise UsageError(f"--task must name {path} as well: {path.stem} is the name of another task")
    return [(names.get(path, path.stem), path) for path in paths]


def normalise_files(
    files: Sequence[tuple[str, Path]], means: Iterable[str], stds: Iterable[str]
) -> tuple[MergeInput, ...]:
    """The files with their normalisation, from NUMBERS for all that record none and TASK=NUMBERS for one.

    Raises UsageError for a task there is not, for what are no numbers, and for one of the two without the other.
    """
    names = [name for name, _ in files]
    mean, std = _by_task("--mean", means, names), _by_task("--std", stds, names)
    if mean.keys() != std.keys():
        raise UsageError("--mean and --std must be given together and for the same tasks, or neither")
    return tuple(
        MergeInput(name, path, (mean[of], std[of]) if of in mean else None, overrides=of is not None)
        for name, path in files
        for of in [name if name in mean else None]
    )


def _by_task(flag: str, texts: Iterable[str], names: Sequence[str]) -> dict[str | None, tuple[float, ...]]:
    """The numbers by task; None stands for all tasks that are not named."""
    by_task: dict[str | None, tuple[float, ...]] = {}
    for text in texts:
        name, equals, listed = text.rpartition("=")
        if equals and name not in names:
            raise UsageError(one_of(f"TASK of {flag} TASK=NUMBERS", names, name))
        task = name if equals else None
        if task in by_task:
            raise UsageError(f"{flag} must be given once for each task, not again as {text!r}")
        by_task[task] = numbers(flag, listed) or ()
    return by_task


def _draw(console: Console, result: MergeResult) -> None:
    rows = [(t.task, t.shared_until or "-", *_figures(t), *_accuracy(t)) for t in result.tasks]
    columns = ("task", "shared until", "file", "MMAC", "near", "deltas", "max error", "dB")
    sizes = f"{format_bytes(result.model_bytes)}, the files {format_bytes(result.file_bytes)}"
    console.print(table(f"{result.model} ({sizes})", columns, rows))
    console.print()
    if result.shared_until:
        console.print(f"all tasks part behind {result.shared_until}", markup=False)
    else:
        console.print("the tasks have no layer in common; they only store weights together")
    saved = result.file_bytes - result.model_bytes, result.file_macs - result.macs
    console.print(
        f"saves {format_bytes(saved[0])} of {format_bytes(result.file_bytes)} and "
        f"{saved[1] / 1e6:.1f} of {result.file_macs / 1e6:.1f} MMAC"
    )


def _figures(task: MergedTask) -> tuple[str, str]:
    return format_bytes(task.file_bytes), f"{task.macs / 1e6:.1f}"


def _accuracy(task: MergedTask) -> tuple[str, str, str, str]:
    """Weights from other files and differences, and how far the output is, which is "equal" for the same bits."""
    deltas = f"{task.delta_weights} ({format_bytes(task.delta_bytes)})" if task.delta_weights else "0"
    if math.isinf(task.sqnr_db):
        return str(task.near_weights), deltas, "equal", "-"
    return str(task.near_weights), deltas, f"{task.max_abs:.3g}", f"{task.sqnr_db:.1f}"


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "merge", merge)
