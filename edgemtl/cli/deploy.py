"""Verbs on a compiled bundle: run, eval, selftest, bundle info, bundle verify."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemtl.cli.command import add_group, add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import plan_opening
from edgemtl.cli.files import LAYOUT, check_bundle, check_data, check_inputs
from edgemtl.cli.flags import BundleFile, Device, Force, Inputs, Json, TaskList, Threads
from edgemtl.cli.lean import import_session
from edgemtl.paths import check_output_folder
from edgemtl.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console


def run(
    bundle: BundleFile,
    input: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and arrays.")],
    task: TaskList = None,
    threads: Threads = 2,
    device: Device = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run tasks on images; write NAME_TASK.npy (what the model says) and NAME_TASK.png (for the eye)."""
    check_output_folder("-o", output)
    opening = plan_opening(bundle, device, task)
    check_inputs(input)
    from edgemtl.evaluate.predict import check_results, expand, predict_files

    check_results(expand(input), opening.tasks, output, force)
    import_session()
    from edgemtl.runtime import Session

    with Session.open(bundle, opening.device, threads) as session, step(f"running {bundle}"):
        written = [asdict(item) for item in predict_files(session, opening.tasks, input, output, force)]
    rows = [(item["image"], item["task"], item["array"], item["picture"] or "none, not a map") for item in written]
    for resized in sorted({item["image"] for item in written if item["resized"]}):
        note(f"{resized}: resized to the model's input size")
    emit({"written": written}, json, lambda c: c.print(table("", ("image", "task", "array", "picture"), rows)))


def evaluate(
    bundle: BundleFile,
    data: Annotated[Path, typer.Option("--data", help=f"Folder with {LAYOUT}.")],
    task: TaskList = None,
    threads: Threads = 2,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure the tasks' accuracy on a folder of images and labels.

    DATA/images/NAME.png (or .jpg, .npy) are the images. DATA/TASK/NAME.png or .npy is the label of each, with the
    height and width of the task's output: class ids (segmentation) or a mask of 0 and 255 (edges, saliency) in a PNG
    of one channel; metres (depth, [H,W]) or unit vectors (normals, [3,H,W]) as float32 in .npy.
    """
    opening = plan_opening(bundle, device, task)
    check_data(data, opening.tasks)
    from edgemtl.evaluate.folder import evaluate_folder

    import_session()
    from edgemtl.runtime import Session

    with Session.open(bundle, opening.device, threads) as session, step(f"evaluating {data}"):
        scores = evaluate_folder(session, opening.tasks, data)
    document = {"tasks": [{"task": s.task, "kind": s.kind, "images": s.images, "metrics": s.metrics} for s in scores]}
    rows = [(s.task, s.images, "  ".join(f"{k} {v:.4g}" for k, v in s.metrics.items())) for s in scores]
    emit(document, json, lambda c: c.print(table("measured", ("task", "images", "metrics"), rows)))


def selftest(bundle: BundleFile, threads: Threads = 2, device: Device = None, json: Json = False) -> int:
    """Run every task's golden inputs and compare with the outputs kept when the bundle was made."""
    opening = plan_opening(bundle, device, None)
    import_session()
    from edgemtl.runtime import Session

    with Session.open(bundle, opening.device, threads) as session, step(f"testing {bundle} on {opening.device}"):
        results = session.selftest()
    figures = [(f"{r.max_abs_error:.2e}", f"{r.tolerance:.0e}", f"{r.scale:.2e}") for r in results]
    rows = [(r.task, r.case, "ok" if r.passed else "FAILED", *f) for r, f in zip(results, figures, strict=True)]
    columns = ("task", "input", "result", "max abs error", "tolerance", "largest value")
    emit(
        {"passed": all(r.passed for r in results), "tasks": [_finite(asdict(r)) for r in results]},
        json,
        lambda c: c.print(table("", columns, rows)),
    )
    return 0 if all(r.passed for r in results) else 1


def _finite(document: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null stands for it."""
    return {key: None if value == math.inf else value for key, value in document.items()}


def verify(bundle: BundleFile, json: Json = False) -> None:
    """Check every section of a bundle against its SHA-256."""
    check_bundle(bundle)
    from edgemtl.bundle import open_bundle

    with open_bundle(bundle) as opened:
        sections = [(s.name, s.bytes, s.sha256) for s in opened.manifest.sections]
    document = {"verified": True, "sections": [{"name": n, "bytes": b, "sha256": h} for n, b, h in sections]}
    rows = [(n, format_bytes(b), h[:16]) for n, b, h in sections]
    emit(
        document,
        json,
        lambda c: c.print(table("every section is what was written", ("section", "size", "sha256"), rows)),
    )


def info(bundle: BundleFile, json: Json = False) -> None:
    """Show what a bundle holds: tasks, pathways, target, memory, sections, notes."""
    check_bundle(bundle)
    from edgemtl.bundle import open_bundle

    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        document = manifest.to_json()
    emit({"manifest": document}, json, lambda c: _draw_info(c, document))


def _draw_info(console: Console, document: dict[str, Any]) -> None:
    program = document["program"]
    console.print(f"model {document['model']['name']}  target {_target(program)}")
    rows = [
        (
            t["name"],
            t["kind"],
            t["pathway"],
            "x".join(map(str, program["tasks"][t["name"]]["output"]["shape"])) or "scalar",
            program["tasks"][t["name"]]["steps"],
        )
        for t in document["tasks"]
    ]
    console.print(table("", ("task", "kind", "pathway", "output", "steps"), rows))
    console.print(table("memory", ("region", "size"), [(name, format_bytes(size)) for name, size in _memory(program)]))
    console.print(
        table(
            "sections",
            ("section", "size"),
            [(s["name"], format_bytes(s["bytes"])) for s in document["sections"]],
        )
    )
    for text in document["notes"]:
        console.print(f"note: {text}", markup=False)


def _target(program: dict[str, Any]) -> str:
    if program["device"] == "fpga":
        board = program["board"]
        unreal = ", HYPOTHETICAL" if board["hypothetical"] else ""
        return f"{board['name']} ({board['board']['part']['name']}{unreal}), engine {program['engine']}"
    return f"{program['target']['name']} ({program['target']['mcpu']})"


def _memory(program: dict[str, Any]) -> list[tuple[str, int]]:
    if program["device"] != "fpga":
        return [(name, program[f"{name}_bytes"]) for name in ("arena", "prepared", "weights")]
    hosts = [(f"arena of host {host['name']}", host["cpu"]["arena_bytes"]) for host in program["hosts"]]
    chip = [(f"on chip, {name}", size) for name, size in program["on_chip"].items()]
    return [("parameters", program["parameters_bytes"]), *hosts, *chip]


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    add_verb(app, "run", run)
    add_verb(app, "eval", evaluate)
    add_verb(app, "selftest", selftest)
    bundle = add_group(app, "bundle", "Look into a bundle.")
    add_verb(bundle, "info", info, "bundle info")
    add_verb(bundle, "verify", verify, "bundle verify")
