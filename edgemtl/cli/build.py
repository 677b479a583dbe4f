"""The verb compile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.flags import Json, ModelFile, Target, TaskList
from edgemtl.errors import UsageError
from edgemtl.options import CompileOptions
from edgemtl.units import format_bytes, parse_bytes


def compile_(
    model: ModelFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.", metavar="APP.edgemtl")],
    target: Target = "cpu",
    task: TaskList = None,
    pathway: Annotated[str, typer.Option("--pathway", help="exact, window or calibrated.")] = "exact",
    precision: Annotated[str, typer.Option("--precision", help="fp32.")] = "fp32",
    memory_budget: Annotated[
        str | None, typer.Option("--memory-budget", help="Most the runtime may allocate, e.g. 8MiB.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Folder of images for --pathway calibrated.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Most threads a session can use.")] = 2,
    mean: Annotated[
        str | None,
        typer.Option("--mean", help="Input mean per channel, e.g. 0.485,0.456,0.406, where the model records none."),
    ] = None,
    std: Annotated[str | None, typer.Option("--std", help="Input standard deviation per channel.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="TASK=KIND where the model records none; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws the golden input.")] = 0,
    json: Json = False,
) -> None:
    """Compile the chosen tasks of a model into one bundle."""
    from edgemtl.driver import compile_model

    options = CompileOptions(
        target=target,
        tasks=tuple(task or ()),
        pathway=pathway,
        precision=precision,
        memory_budget=parse_bytes(memory_budget) if memory_budget else None,
        calibration=calibration,
        threads=threads,
        seed=seed,
        mean=_numbers("mean", mean),
        std=_numbers("std", std),
        kinds=tuple(_pair(item) for item in kind or ()),
    )
    result = compile_model(model, options, output, step)
    for text in result.notes:
        note(f"note: {text}")
    rows = [(t.task, t.pathway, t.steps, f"{t.macs / 1e6:.1f}", format_bytes(t.weight_bytes)) for t in result.tasks]
    emit(
        result.to_json(),
        json,
        lambda c: c.print(
            table(
                f"{output} ({format_bytes(result.bundle_bytes)})",
                ("task", "pathway", "steps", "MMAC", "weights"),
                rows,
            )
        ),
    )


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--{name} must be numbers with commas between, one a channel, not {text!r}") from None


def _pair(text: str) -> tuple[str, str]:
    name, separator, kind = text.partition("=")
    if not separator:
        raise UsageError(f"--kind must be TASK=KIND, not {text!r}")
    return name, kind


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    app.command("compile")(compile_)
