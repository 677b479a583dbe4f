"""Verbs on a model before it is compiled: inspect, check."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_names, check_request
from edgemtl.cli.files import check_model
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
    budget,
    numbers,
    pairs,
    renames,
)
from edgemtl.cli.lean import import_driver
from edgemtl.options import CheckOptions
from edgemtl.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.partition import Cost, Inspection


def inspect(model: ModelFile, rename: Renames = None, json: Json = False) -> None:
    """Show tasks, layers, experts within reach of each task, MACs and weight bytes: whole model, each task, shared."""
    chosen = dict(renames(rename))
    check_model(model)
    check_names(model, (), tuple(chosen.items()))
    # Not through the driver, which imports the compiler.
    from edgemtl.frontend import read_model, rename_tasks
    from edgemtl.partition import inspect_model

    with step(f"reading {model}"):
        found = inspect_model(rename_tasks(read_model(model), chosen))
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
    options = CheckOptions(
        target=target,
        tasks=tuple(task or ()),
        pathway=pathway,
        precision=precision,
        memory_budget=budget(memory_budget),
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
    check_names(model, options.tasks, options.renames, options.kinds)
    import_driver()
    from edgemtl import driver

    with step(f"checking {model} for {target}"):
        found = driver.check_model(model, options)
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
    add_verb(app, "inspect", inspect)
    add_verb(app, "check", check)
