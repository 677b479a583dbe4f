"""The verb compile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_names, check_request
from edgemtl.cli.flags import (
    BitExact,
    Budget,
    Cameras,
    CompiledThreads,
    Json,
    KeepFloat,
    Kinds,
    Mean,
    Method,
    MinSqnr,
    ModelFile,
    Parameters,
    Pathway,
    Precision,
    Renames,
    RequireInt8,
    ResizeFilter,
    ShapeList,
    SqnrTarget,
    Std,
    Target,
    TaskList,
    Weights,
    budget,
    described,
    quantise_options,
    renames,
)
from edgemtl.cli.lean import import_driver
from edgemtl.options import CompileOptions
from edgemtl.paths import check_output_file
from edgemtl.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.results import CompileResult


Output = Annotated[Path, typer.Option("--output", "-o", help="Bundle to write.", metavar="APP.edgemtl")]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Folder of images for --precision int8 (a quantised model needs none) and --pathway calibrated.",
    ),
]
ExpertOrder = Annotated[str, typer.Option("--expert-order", help="For a board: expert, or token (for comparison).")]
ExpertCache = Annotated[
    int, typer.Option("--expert-cache", help="For token order: experts in the cache; 0 means no cache.")
]
ExpertsOnChip = Annotated[
    str, typer.Option("--experts-on-chip", help="For a board: few, or all of a layer (for comparison).")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the golden inputs.")]
Selftest = Annotated[
    bool, typer.Option("--selftest/--no-selftest", help="Run the golden inputs before writing the bundle.")
]


def compile_(
    model: ModelFile,
    output: Output,
    target: Target = "cpu",
    task: TaskList = None,
    pathway: Pathway = "exact",
    precision: Precision = "fp32",
    memory_budget: Budget = None,
    calibration: Calibration = None,
    parameters: Parameters = None,
    method: Method = "minmax",
    keep_float: KeepFloat = None,
    require_int8: RequireInt8 = False,
    bit_exact: BitExact = False,
    min_sqnr: MinSqnr = 15.0,
    sqnr_target: SqnrTarget = None,
    weights: Weights = None,
    threads: CompiledThreads = 2,
    mean: Mean = None,
    std: Std = None,
    resize_filter: ResizeFilter = None,
    kind: Kinds = None,
    rename: Renames = None,
    shape: ShapeList = None,
    camera: Cameras = None,
    expert_order: ExpertOrder = "expert",
    expert_cache: ExpertCache = 0,
    experts_on_chip: ExpertsOnChip = "few",
    seed: Seed = 0,
    selftest: Selftest = True,
    json: Json = False,
) -> None:
    """Compile the chosen tasks of a model into one bundle."""
    options = CompileOptions(
        target=target,
        tasks=tuple(task or ()),
        pathway=pathway,
        precision=precision,
        memory_budget=budget(memory_budget),
        calibration=calibration,
        parameters=parameters,
        quantise=quantise_options(method, keep_float, min_sqnr, require_int8, sqnr_target, weights),
        bit_exact=bit_exact,
        threads=threads,
        seed=seed,
        selftest=selftest,
        **described(mean, std, resize_filter, kind, shape, camera),
        renames=renames(rename),
        expert_order=expert_order,
        expert_cache=expert_cache,
        experts_on_chip=experts_on_chip,
    )
    _check(model, options, output)
    import_driver()
    from edgemtl.driver import compile_model

    result = compile_model(model, options, output, step)
    _report(result, output, json)


def _check(model: Path, options: CompileOptions, output: Path) -> None:
    """Refuse mistakes that show before anything is read. Raises UsageError."""
    check_request(model, options.target, options.calibration, options.parameters)
    check_output_file("-o", output, (model, *options.files))
    check_names(model, options.tasks, options.renames, options.kinds)


def _report(result: CompileResult, output: Path, json: bool) -> None:
    for text in result.notes:
        note(f"note: {text}")
    emit(result.to_json(), json, lambda console: _draw(console, output, result))


def _draw(console: Console, output: Path, result: CompileResult) -> None:
    rows = [(t.task, t.pathway, t.steps, f"{t.macs / 1e6:.1f}", format_bytes(t.weight_bytes)) for t in result.tasks]
    columns = ("task", "pathway", "steps", "MMAC", "weights")
    console.print(table(f"{output} ({format_bytes(result.bundle_bytes)})", columns, rows))


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "compile", compile_)
