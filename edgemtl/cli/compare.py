"""The verb compare: two ways to run a task, layer by layer."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_names, check_request
from edgemtl.cli.files import check_file, check_inputs
from edgemtl.cli.flags import (
    Calibration,
    Force,
    Inputs,
    Json,
    KeepFloat,
    Mean,
    Method,
    Parameters,
    Pathway,
    Renames,
    ResizeFilter,
    ShapeList,
    Std,
    Target,
    numbers,
    quantise_options,
    renames,
    shapes,
)
from edgemtl.cli.lean import import_driver
from edgemtl.errors import UsageError
from edgemtl.extras import check_extra
from edgemtl.options import SIDES, CompareOptions
from edgemtl.paths import check_absent, check_output_file
from edgemtl.processor import resolve

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.compare import Comparison, LayerFigures, WatchModules

WORST = 3
"""So many of the worst layers are marked."""
SideA = Annotated[str, typer.Argument(help=f"The reference, one of {', '.join(SIDES)}.", metavar="A")]
SideB = Annotated[str, typer.Argument(help="What to compare with A: another one of these.", metavar="B")]
Model = Annotated[Path, typer.Option("--model", help="ONNX model.", metavar="MODEL.onnx")]
Task = Annotated[str, typer.Option("--task", help="Task to compare.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="Weights for torch: .safetensors or .pth.")]
FailBelow = Annotated[
    str | None, typer.Option("--fail-below", help="Minimum SQNR of every layer, e.g. 20dB; exit code 1 below it.")
]
FailAgreementBelow = Annotated[
    str | None,
    typer.Option("--fail-agreement-below", help="Minimum agreement of every router, e.g. 97%; exit code 1 below it."),
]
Report = Annotated[Path | None, typer.Option("--report", help="Also write an HTML page.", metavar="PAGE.html")]


def compare(
    a: SideA,
    b: SideB,
    model: Model,
    task: Task,
    input: Inputs,
    checkpoint: Checkpoint = None,
    calibration: Calibration = None,
    parameters: Parameters = None,
    method: Method = "minmax",
    keep_float: KeepFloat = None,
    target: Target = "cpu",
    pathway: Pathway = "exact",
    fail_below: FailBelow = None,
    fail_agreement_below: FailAgreementBelow = None,
    report: Report = None,
    mean: Mean = None,
    std: Std = None,
    resize_filter: ResizeFilter = None,
    rename: Renames = None,
    shape: ShapeList = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Run a task in two ways and compare every layer, with A as the reference."""
    options = CompareOptions(
        a=a,
        b=b,
        task=task,
        inputs=tuple(input),
        checkpoint=checkpoint,
        calibration=calibration,
        parameters=parameters,
        quantise=quantise_options(method, keep_float, -math.inf),
        target=target,
        pathway=pathway,
        least_sqnr_db=_decibel(fail_below),
        least_agreement=_share(fail_agreement_below),
        mean=numbers("--mean", mean),
        std=numbers("--std", std),
        resize_filter=resize_filter,
        renames=renames(rename),
        shapes=shapes(shape),
    )
    check_request(model, target, calibration, parameters)
    resolve(target)  # refuses a board
    check_inputs(input)
    check_file("--checkpoint", checkpoint, "a .safetensors or .pth file")
    check_names(model, [task], options.renames)
    _check_report(report, force, (model, checkpoint, calibration, parameters, *input))
    comparison = _compare(model, options)
    for text in comparison.notes:
        note(f"note: {text}")
    if report is not None:
        _write_report(comparison, report)
    emit(comparison.to_json(), json, lambda console: _draw(console, comparison))
    return _verdict(comparison)


def _compare(model: Path, options: CompareOptions) -> Comparison:
    if options.checkpoint is None:
        import_driver()
    from edgemtl.driver import compare_model

    watch: WatchModules | None = None
    if options.checkpoint is not None:
        check_extra("export", "--checkpoint")
        from edgemtl.exporters.watch import watch_checkpoint

        with step(f"reading {options.checkpoint}"):
            watch = watch_checkpoint(options.checkpoint, _own_name(options))
    return compare_model(model, options, watch, step)


def _own_name(options: CompareOptions) -> str:
    """What the checkpoint calls the task."""
    return {new: old for old, new in options.renames}.get(options.task, options.task)


def _check_report(path: Path | None, force: bool, inputs: tuple[Path | None, ...]) -> None:
    """Before anything is computed, since a comparison may take minutes."""
    if path is None:
        return
    check_output_file("--report", path, inputs)
    check_absent("--report", (path,), force)
    check_extra("report", "--report")


def _write_report(comparison: Comparison, path: Path) -> None:
    from edgemtl.report.comparison import write_comparison

    with step(f"writing {path}"):
        write_comparison(comparison, path)


def _decibel(text: str | None) -> float | None:
    return None if text is None else _number("--fail-below", text, "dB", "20dB")


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    percent = _number("--fail-agreement-below", text, "%", "97%")
    if not 0 <= percent <= 100:
        raise UsageError(f"--fail-agreement-below must be from 0% to 100%, not {text!r}")
    return percent / 100


def _number(flag: str, text: str, unit: str, example: str) -> float:
    match = re.fullmatch(rf"(-?\d+(?:\.\d+)?) ?{unit}", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"{flag} must be a number in {unit} such as {example}, not {text!r}")
    return float(match[1])


def _draw(console: Console, comparison: Comparison) -> None:
    from rich.markup import escape

    worst = sorted((layer for layer in comparison.layers if layer.sqnr_db < math.inf), key=lambda layer: layer.sqnr_db)
    lowest = [layer.name for layer in worst[:WORST]]
    rows = [_row(layer, comparison, lowest) for layer in comparison.layers]
    title = f"{comparison.b} against {comparison.a}, task {comparison.task}, {comparison.images} images"
    console.print(table(title, ("layer", "SQNR dB", "cosine", "max abs", ""), rows))
    if comparison.routers:
        shares = [(escape(r.name), f"{r.agreement:.2%}", f"{r.weighted:.2%}", r.choices) for r in comparison.routers]
        console.print(table("expert choices", ("router", "agree", "by weight", "choices"), shares))
    for name, alone in ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b)):
        if alone:
            console.print(f"{len(alone)} layers exist only in {name} and are not compared", markup=False)


def _row(layer: LayerFigures, comparison: Comparison, lowest: list[str]) -> tuple[str, ...]:
    from rich.markup import escape

    limit, first = comparison.limits.sqnr_db, comparison.first
    mark = f"[yellow]worst {lowest.index(layer.name) + 1}[/]" if layer.name in lowest else ""
    if first is not None and layer.name == first.name:
        mark = "[bold red]FIRST BELOW[/]"
    elif limit is not None and not layer.sqnr_db >= limit:
        mark = "[red]below[/]"
    sqnr = "equal" if layer.sqnr_db == math.inf else f"{layer.sqnr_db:.2f}"
    return escape(layer.name), sqnr, f"{layer.cosine:.6f}", f"{layer.max_abs:.3g}", mark


def _verdict(comparison: Comparison) -> int:
    """The exit code; what broke a limit is named on stderr."""
    layer, router = comparison.first, comparison.first_router
    if layer is not None:
        note(f"error: {layer.name} must reach {comparison.limits.sqnr_db:g} dB, not {layer.sqnr_db:.2f} dB", level=0)
    if router is not None:
        note(
            f"error: {router.name} must agree in {comparison.limits.agreement:.2%}, not {router.agreement:.2%}", level=0
        )
    return 1 if comparison.failed else 0


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "compare", compare)
