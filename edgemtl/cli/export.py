"""The verb export."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_tasks
from edgemtl.cli.files import CHECKPOINT, check_file, kind_of
from edgemtl.cli.flags import Json, ResizeFilter, TaskList
from edgemtl.errors import UsageError
from edgemtl.paths import check_output_file
from edgemtl.suggest import one_of
from edgemtl.vocabulary import DEFAULT_FILTER, RESIZE_FILTERS

ENDINGS = (".safetensors", ".pth", ".pt", ".pth.tar")
"""Of a checkpoint's name."""


Output = Annotated[Path | None, typer.Option("--output", "-o", help="ONNX file to write.")]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Weights: .safetensors, .pth, or a folder with one .pth per rank."),
]
Preset = Annotated[str | None, typer.Option("--preset", help="Model by name, if the checkpoint does not say it.")]
Config = Annotated[Path | None, typer.Option("--config", help="Model as a JSON file, instead of --preset.")]
UpstreamConfig = Annotated[
    Path | None, typer.Option("--upstream-config", help="Model as M3ViT's yaml file, instead of --preset.")
]
UpstreamFlags = Annotated[
    str | None,
    typer.Option("--upstream-flags", help='Flags given to M3ViT\'s trainer, e.g. "--multi_gate True --moe_top_k 4".'),
]
Layout = Annotated[str, typer.Option("--layout", help="upstream, or edge-moe for a folder of .float32.bin files.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Random weights from this seed, instead of --checkpoint.")]
PrintConfig = Annotated[
    str | None,
    typer.Option("--print-config", help="Print a preset as JSON for --config, and export nothing."),
]


def export(
    output: Output = None,
    checkpoint: Checkpoint = None,
    preset: Preset = None,
    config: Config = None,
    upstream_config: UpstreamConfig = None,
    upstream_flags: UpstreamFlags = None,
    layout: Layout = "upstream",
    task: TaskList = None,
    seed: Seed = None,
    resize_filter: ResizeFilter = None,
    print_config: PrintConfig = None,
    json: Json = False,
) -> None:
    """Export a PyTorch model to ONNX and compare it with torch in onnxruntime.

    --config takes a JSON object. image, patch, dim, depth, heads, mlp_hidden and tasks are required; the other fields
    have defaults, which --print-config shows.
    """
    if print_config is not None:
        _print_config(print_config)
        return
    if output is None:
        raise UsageError("--output must be given: the ONNX file to write; see `edgemtl export --help`")
    check_output_file("-o", output, (checkpoint, config, upstream_config))
    if resize_filter is not None and resize_filter not in RESIZE_FILTERS:
        raise UsageError(one_of("--resize-filter", RESIZE_FILTERS, resize_filter))
    _check_files(checkpoint, config, upstream_config, ranks=layout != "edge-moe")
    from edgemtl.exporters.source import ModelSource, known_tasks

    source = ModelSource(checkpoint, seed, preset, config, upstream_config, upstream_flags, layout)
    if tasks := known_tasks(source):
        check_tasks(task or (), tasks)
    from edgemtl.exporters.build import build_model
    from edgemtl.exporters.to_onnx import export_onnx

    with step("building the model"):
        loaded = build_model(source)
    for text in loaded.notes:
        note(f"note: {text}")
    with step("exporting and comparing with torch"):
        report = export_onnx(loaded.model, output, tasks=task, resize_filter=resize_filter or DEFAULT_FILTER)
    rows = [(name, f"{error:.2e}") for name, error in report.max_abs_error.items()]
    document = {"model": str(output), "max_abs_error": report.max_abs_error, "notes": list(loaded.notes)}
    emit(
        document,
        json,
        lambda c: c.print(table(f"{output}: onnxruntime against torch", ("task", "max abs error"), rows)),
    )


def _check_files(checkpoint: Path | None, config: Path | None, upstream_config: Path | None, ranks: bool) -> None:
    """Raise UsageError for a file that is not there, or is of another kind; ``ranks``: a folder has a file for each."""
    what = "a .safetensors or .pth file, or a folder with one .pth per rank"
    if checkpoint is not None and not checkpoint.is_dir():
        check_file("--checkpoint", checkpoint, what)
        kind = kind_of(checkpoint)
        if kind not in (CHECKPOINT, None) or not checkpoint.name.endswith(ENDINGS):
            reason = f"is {kind}" if kind else f"ends in none of {', '.join(ENDINGS)}"
            raise UsageError(f"--checkpoint must be {what}, but {checkpoint} {reason}; name the file with the weights")
    if checkpoint is not None and checkpoint.is_dir() and not any(checkpoint.glob("*.pth" if ranks else "*.bin")):
        holds = "a .pth file for each rank" if ranks else "the .float32.bin files of --layout edge-moe"
        raise UsageError(f"--checkpoint must be a folder with {holds}, but {checkpoint} has none; name the file itself")
    check_file("--config", config, "a JSON file; `edgemtl export --print-config PRESET` prints one")
    check_file("--upstream-config", upstream_config, "a yaml file of M3ViT")


def _print_config(name: str) -> None:
    from edgemtl.exporters.models.presets import PRESETS

    if name not in PRESETS:
        raise UsageError(one_of("--print-config", PRESETS, name))
    sys.stdout.write(json_format.dumps(PRESETS[name]().to_json(), indent=1) + "\n")


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "export", export)
