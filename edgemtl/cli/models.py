"""Verbs on a model before it is compiled: inspect, check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import check_names, check_request
from edgemtl.cli.files import check_model
from edgemtl.cli.flags import (
    BitExact,
    Budget,
    Calibration,
    Cameras,
    CompiledThreads,
    Json,
    KeepFloat,
    Kinds,
    Mean,
    ModelFile,
    Parameters,
    Pathway,
    Renames,
    RequireInt8,
    ResizeFilter,
    ShapeList,
    Std,
    Target,
    TaskList,
    Weights,
    budget,
    described,
    renames,
    shapes,
    weight_rules,
)
from edgemtl.cli.lean import import_driver
from edgemtl.hw.spec import is_board
from edgemtl.options import CheckOptions
from edgemtl.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.codegen.cpu import NodeReport
    from edgemtl.partition import Cost, Inspection
    from edgemtl.results import CheckResult, Share


def inspect(model: ModelFile, rename: Renames = None, shape: ShapeList = None, json: Json = False) -> None:
    """Show tasks, layers, reachable experts, MACs and weight bytes: of the whole model, of each task, and shared."""
    chosen, sizes = dict(renames(rename)), dict(shapes(shape))
    check_model(model)
    check_names(model, (), tuple(chosen.items()))
    # Not through the driver, which imports the compiler.
    from edgemtl.frontend import read_model, rename_tasks
    from edgemtl.partition import inspect_model

    with step(f"reading {model}"):
        inspection = inspect_model(rename_tasks(read_model(model, shapes=sizes), chosen))
    emit(inspection.to_json(), json, lambda c: _draw_inspection(c, inspection))


def _draw_inspection(console: Console, inspection: Inspection) -> None:
    for of in inspection.inputs:
        console.print(f"input {of.name} {'x'.join(map(str, of.shape)) or 'scalar'} {of.dtype}")
    rows = [(of.task.name, of.task.kind, *_cost_cells(of.cost)) for of in inspection.tasks]
    rows += [("shared by all", "", *_cost_cells(inspection.common)), ("full model", "", *_cost_cells(inspection.full))]
    console.print(table("", ("task", "kind", "encoder MMAC", "head MMAC", "MMAC", "weights"), rows))
    layers = [
        (of.task.name, pathway.node, f"{len(pathway.experts)} of {pathway.total}", pathway.top_k)
        for of in inspection.tasks
        for pathway in of.moe
    ]
    if layers:
        console.print(table("reachable experts", ("task", "layer", "experts", "k"), layers))
    for text in inspection.notes:
        console.print(f"note: {text}", markup=False)


def _cost_cells(cost: Cost) -> tuple[str, str, str, str]:
    macs = (cost.encoder_macs, cost.head_macs, cost.macs)
    encoder, head, total = (f"{count / 1e6:.1f}" for count in macs)
    return encoder, head, total, format_bytes(cost.weight_bytes)


ChosenPrecision = Annotated[
    str | None,
    typer.Option("--precision", help="fp32 or int8. Default: fp32, or int8 if another option is for int8."),
]
IMPLIED_INT8 = "checked in int8, because another option is for int8; --precision overrides this"
Summary = Annotated[bool, typer.Option("--summary", help="Show only counts and shares, not every node.")]


def check(
    model: ModelFile,
    target: Target = "cpu",
    task: TaskList = None,
    pathway: Pathway = "exact",
    precision: ChosenPrecision = None,
    memory_budget: Budget = None,
    calibration: Calibration = None,
    parameters: Parameters = None,
    keep_float: KeepFloat = None,
    require_int8: RequireInt8 = False,
    bit_exact: BitExact = False,
    weights: Weights = None,
    threads: CompiledThreads = 2,
    mean: Mean = None,
    std: Std = None,
    resize_filter: ResizeFilter = None,
    kind: Kinds = None,
    rename: Renames = None,
    shape: ShapeList = None,
    camera: Cameras = None,
    summary: Summary = False,
    json: Json = False,
) -> int:
    """Say for each node how it runs on a target, or why it cannot."""
    scales = (calibration is not None and pathway != "calibrated") or parameters is not None
    asked = scales or require_int8 or bit_exact or bool(keep_float or weights)
    implied = precision is None and not is_board(target) and asked
    options = CheckOptions(
        target=target,
        tasks=tuple(task or ()),
        pathway=pathway,
        precision="int8" if implied else precision or "fp32",
        memory_budget=budget(memory_budget),
        calibration=calibration,
        parameters=parameters,
        keep_float=tuple(keep_float or ()),
        require_int8=require_int8,
        bit_exact=bit_exact,
        weights=weight_rules(weights),
        threads=threads,
        **described(mean, std, resize_filter, kind, shape, camera),
        renames=renames(rename),
    )
    check_request(model, target, calibration, parameters)
    check_names(model, options.tasks, options.renames, options.kinds)
    import_driver()
    from edgemtl import driver

    with step(f"checking {model} for {target}"):
        result = driver.check_model(model, options)
    notes = (*([IMPLIED_INT8] if implied else []), *result.notes)
    return _report_check(replace(result, notes=notes), target, summary, json)


def _report_check(result: CheckResult, target: str, summary: bool, json: bool) -> int:
    """Print what a check says, without the nodes where ``summary``; the exit code."""
    for text in result.notes:
        note(f"note: {text}")
    refused = [r for r in result.nodes if r.how == "unsupported"]
    document = {
        "supported": not refused,
        "shares": [asdict(share) for share in result.shares],
        "nodes": [] if summary else [asdict(r) for r in result.nodes],
        "notes": list(result.notes),
    }
    emit(document, json, lambda c: _draw_check(c, [] if summary else result.nodes, result.shares))
    note(f"{len(result.nodes) - len(refused)} of {len(result.nodes)} nodes compile for {target}")
    return 3 if refused else 0


def _draw_check(console: Console, nodes: Sequence[NodeReport], shares: Sequence[Share]) -> None:
    if nodes:
        rows = [(node.node, node.op, node.how, "; ".join(filter(None, (node.reason, node.hint)))) for node in nodes]
        console.print(table("", ("node", "op", "runs as", "why"), rows))
        console.print()
    total = sum(share.macs for share in shares)
    cells = [(s.where, s.nodes, f"{s.macs / 1e6:.1f}", f"{s.macs / total:.1%}" if total else "") for s in shares]
    console.print(table("", ("runs in", "nodes", "MMAC", "share"), cells))


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    add_verb(app, "inspect", inspect)
    add_verb(app, "check", check)
