"""The verb quantize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_names, check_request
from edgemtl.cli.flags import (
    Json,
    KeepFloat,
    Kinds,
    Mean,
    Method,
    MinSqnr,
    ModelFile,
    Pathway,
    Renames,
    RequireInt8,
    ResizeFilter,
    ShapeList,
    SqnrTarget,
    Std,
    TaskList,
    Weights,
    numbers,
    pairs,
    quantise_options,
    renames,
    shapes,
)
from edgemtl.cli.lean import import_driver
from edgemtl.options import CompileOptions
from edgemtl.paths import check_output_pair
from edgemtl.units import format_bytes


def quantize(
    model: ModelFile,
    calibration: Annotated[Path, typer.Option("--calibration", help="Folder of images to take int8 scales from.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="QDQ model to write; the parameters go to the same name with .json.",
            metavar="MODEL.int8.onnx",
        ),
    ],
    task: TaskList = None,
    pathway: Pathway = "exact",
    method: Method = "minmax",
    keep_float: KeepFloat = None,
    require_int8: RequireInt8 = False,
    min_sqnr: MinSqnr = 15.0,
    sqnr_target: SqnrTarget = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    resize_filter: ResizeFilter = None,
    kind: Kinds = None,
    rename: Renames = None,
    shape: ShapeList = None,
    json: Json = False,
) -> None:
    """Calibrate int8 and write a QDQ ONNX model for other tools, and parameters for `compile --parameters`."""
    options = CompileOptions(
        tasks=tuple(task or ()),
        pathway=pathway,
        precision="int8",
        calibration=calibration,
        quantise=quantise_options(method, keep_float, min_sqnr, require_int8, sqnr_target, weights),
        mean=numbers("--mean", mean),
        std=numbers("--std", std),
        resize_filter=resize_filter,
        kinds=pairs("--kind", "TASK=KIND", kind),
        renames=renames(rename),
        shapes=shapes(shape),
    )
    check_request(model, calibration=calibration)
    check_output_pair(output, (model, calibration))
    check_names(model, options.tasks, options.renames, options.kinds)
    import_driver()
    from edgemtl.driver import quantize_model

    result = quantize_model(model, options, output, step)
    for text in result.notes:
        note(f"note: {text}")
    columns = ("task", "int8 to float, dB", "QDQ to int8, dB", "QDQ to float, dB")
    rows = [(t.task, *map(_figure, (t.law_to_float_db, t.qdq_to_law_db, t.qdq_to_float_db))) for t in result.tasks]
    sizes = format_bytes(result.model_bytes), format_bytes(result.parameters_bytes)
    title = f"{result.model} ({sizes[0]}), {result.parameters} ({sizes[1]}); signal to noise, measured"
    emit(result.to_json(), json, lambda console: console.print(table(title, columns, rows)))


def _figure(decibel: float) -> str:
    return f"{decibel:.1f}"


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "quantize", quantize)
