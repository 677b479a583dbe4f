"""Verbs on a model before it is compiled: export, inspect, check."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.flags import Json, ModelFile, Target, TaskList
from edgemtl.errors import UsageError
from edgemtl.units import format_bytes


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help=".safetensors or .pth with the weights.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Model by name, where the checkpoint does not say.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Model as a JSON file, instead of --preset.")] = None,
    task: TaskList = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random weights from this seed, instead of --checkpoint.")] = None,
    json: Json = False,
) -> None:
    """Export a PyTorch model to ONNX and compare it with torch in onnxruntime."""
    from edgemtl.exporters.to_onnx import export_onnx

    if (checkpoint is None) == (seed is None):
        raise UsageError("export must be given exactly one of --checkpoint FILE and --seed N (random weights)")
    with step("building the model"):
        model = _build_model(checkpoint, preset, config, seed)
    with step("exporting and comparing with torch"):
        report = export_onnx(model, output, tasks=task)
    rows = [(name, f"{error:.2e}") for name, error in report.max_abs_error.items()]
    document = {"model": str(output), "max_abs_error": report.max_abs_error}
    emit(document, json, lambda c: c.print(table(f"{output}: onnxruntime against torch", ("task", "max abs error"), rows)))


def _build_model(checkpoint: Path | None, preset: str | None, config: Path | None, seed: int | None):  # type: ignore[no-untyped-def]
    from edgemtl.exporters.checkpoints import load_checkpoint, random_model
    from edgemtl.exporters.models import preset as preset_config
    from edgemtl.exporters.models import read_config

    if preset is not None and config is not None:
        raise UsageError("export must be given --preset or --config, not both")
    chosen = preset_config(preset) if preset else read_config(config) if config else None
    if checkpoint is not None:
        return load_checkpoint(checkpoint, chosen)
    if chosen is None:
        raise UsageError("--seed must come with --preset NAME or --config FILE: random weights need a model")
    return random_model(chosen, seed or 0)


def inspect(model: ModelFile, json: Json = False) -> None:
    """Show tasks, layers, experts within reach of each task, MACs and weight bytes: whole model, each task, shared."""
    from edgemtl.driver import inspect_model

    found = inspect_model(model)
    emit(found.to_json(), json, lambda c: _draw_inspection(c, found))


def _draw_inspection(console: Console, found) -> None:  # type: ignore[no-untyped-def]
    console.print(f"input {'x'.join(map(str, found.input_shape))}, {len(found.tasks)} tasks, {len(found.moe)} MoE layers")
    for text in found.notes:
        console.print(f"note: {text}", markup=False)


def check(
    model: ModelFile,
    target: Target = "cpu",
    task: TaskList = None,
    json: Json = False,
) -> int:
    """Say node by node what runs how on a target, and why not where it does not."""
    from edgemtl.driver import check_model

    reports = check_model(model, target, tuple(task or ()))
    refused = [r for r in reports if r.how == "unsupported"]
    rows = [(r.node, r.op, r.how, "; ".join(filter(None, (r.reason, r.hint)))) for r in reports]
    emit(
        {"supported": not refused, "nodes": [asdict(r) for r in reports]},
        json,
        lambda c: c.print(table("", ("node", "op", "runs as", "why"), rows)),
    )
    note(f"{len(reports) - len(refused)} of {len(reports)} nodes compile for {target}")
    return 3 if refused else 0


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    app.command("export")(export)
    app.command("inspect")(inspect)
    app.command("check")(check)
