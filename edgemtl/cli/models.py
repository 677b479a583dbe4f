"""Verbs on a model before it is compiled: export, inspect, check."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_request
from edgemtl.cli.flags import (
    Budget,
    CompiledThreads,
    Json,
    KeepFloat,
    Kinds,
    Mean,
    ModelFile,
    Pathway,
    Precision,
    Renames,
    Std,
    Target,
    TaskList,
    numbers,
    pairs,
    renames,
)
from edgemtl.extras import check_extra
from edgemtl.options import CheckOptions
from edgemtl.paths import check_model_file, check_output_file
from edgemtl.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from edgemtl.partition import Cost, Inspection


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help=".safetensors or .pth with the weights, or a folder with a .pth a rank."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Model by name, where the checkpoint does not say.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Model as a JSON file, instead of --preset.")] = None,
    upstream_config: Annotated[
        Path | None, typer.Option("--upstream-config", help="Model as a yaml file of M3ViT, instead of --preset.")
    ] = None,
    upstream_flags: Annotated[
        str | None,
        typer.Option("--upstream-flags", help='Flags its trainer was given, e.g. "--multi_gate True --moe_top_k 4".'),
    ] = None,
    layout: Annotated[
        str, typer.Option("--layout", help="upstream, or edge-moe: a folder of .float32.bin files.")
    ] = "upstream",
    task: TaskList = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Random weights from this seed, instead of --checkpoint.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a PyTorch model to ONNX and compare it with torch in onnxruntime."""
    check_extra("export", "edgemtl export")
    check_output_file("-o", output, (checkpoint, config, upstream_config))
    from edgemtl.exporters.build import ModelSource, build_model
    from edgemtl.exporters.to_onnx import export_onnx

    with step("building the model"):
        source = ModelSource(checkpoint, seed, preset, config, upstream_config, upstream_flags, layout)
        loaded = build_model(source)
    for text in loaded.notes:
        note(f"note: {text}")
    with step("exporting and comparing with torch"):
        report = export_onnx(loaded.model, output, tasks=task)
    rows = [(name, f"{error:.2e}") for name, error in report.max_abs_error.items()]
    document = {"model": str(output), "max_abs_error": report.max_abs_error, "notes": list(loaded.notes)}
    emit(
        document,
        json,
        lambda c: c.print(table(f"{output}: onnxruntime against torch", ("task", "max abs error"), rows)),
    )


def inspect(model: ModelFile, rename: Renames = None, json: Json = False) -> None:
    """Show tasks, layers, experts within reach of each task, MACs and weight bytes: whole model, each task, shared."""
    check_extra("compile", "edgemtl inspect")
    chosen = dict(renames(rename))
    check_model_file(model)
    from edgemtl.driver import inspect_model

    found = inspect_model(model, chosen)
    emit(found.to_json(), json, lambda c: _draw_inspection(c, found))


def _draw_inspection(console: Console, found: Inspection) -> None:
    console.print(f"input {found.input.name} {'x'.join(map(str, found.input.shape))} float32")
    rows = [(of.task.name, of.task.kind, *_cost_cells(of.cost)) for of in found.tasks]
    rows += [("shared by all", "", *_cost_cells(found.common)), ("full model", "", *_cost_cells(found.full))]
    console.print(table("", ("task", "kind", "encoder MMAC", "head MMAC", "MMAC", "weights"), rows))
    layers = [
        (of.task.name, pathway.node, f"{len(pathway.experts)} of {pathway.total}", pathway.top_k)
        for of in found.tasks
        for pathway in of.moe
    ]
    if layers:
        console.print(table("experts within reach", ("task", "layer", "experts", "k"), layers))
    for text in found.notes:
        console.print(f"note: {text}", markup=False)


def _cost_cells(cost: Cost) -> tuple[str, str, str, str]:
    macs = (cost.encoder_macs, cost.head_macs, cost.macs)
    encoder, head, total = (f"{count / 1e6:.1f}" for count in macs)
    return encoder, head, total, format_bytes(cost.weight_bytes)


def check(
    model: ModelFile,
    target: Target = "cpu",
    task: TaskList = None,
    pathway: Pathway = "exact",
    precision: Precision = "fp32",
    memory_budget: Budget = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Folder of images that scales of integers are taken from.")
    ] = None,
    parameters: Annotated[
        Path | None, typer.Option("--parameters", help="For integers, a file of `edgemtl quantize` instead of images.")
    ] = None,
    keep_float: KeepFloat = None,
    threads: CompiledThreads = 2,
    mean: Mean = None,
    std: Std = None,
    kind: Kinds = None,
    rename: Renames = None,
    json: Json = False,
) -> int:
    """Say node by node what runs how on a target, and why not where it does not."""
    check_extra("compile", "edgemtl check")
    options = CheckOptions(
        target=target,
        tasks=tuple(task or ()),
        pathway=pathway,
        precision=precision,
        memory_budget=parse_bytes(memory_budget) if memory_budget else None,
        calibration=calibration,
        parameters=parameters,
        keep_float=tuple(keep_float or ()),
        threads=threads,
        mean=numbers("--mean", mean),
        std=numbers("--std", std),
        kinds=pairs("--kind", "TASK=KIND", kind),
        renames=renames(rename),
    )
    check_request(model, target, calibration, parameters)
    from edgemtl.driver import check_model

    found = check_model(model, options)
    for text in found.notes:
        note(f"note: {text}")
    refused = [r for r in found.nodes if r.how == "unsupported"]
    rows = [(r.node, r.op, r.how, "; ".join(filter(None, (r.reason, r.hint)))) for r in found.nodes]
    emit(
        {"supported": not refused, "nodes": [asdict(r) for r in found.nodes], "notes": list(found.notes)},
        json,
        lambda c: c.print(table("", ("node", "op", "runs as", "why"), rows)),
    )
    note(f"{len(found.nodes) - len(refused)} of {len(found.nodes)} nodes compile for {target}")
    return 3 if refused else 0


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    app.command("export")(export)
    app.command("inspect")(inspect)
    app.command("check")(check)
