"""Verbs on a compiled bundle: run, eval, selftest, bundle info, bundle verify."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemtl.cli import sign
from edgemtl.cli.command import add_group, add_verb
from edgemtl.cli.console import emit, note, step, table
from edgemtl.cli.early import Opening, plan_opening, read_demands
from edgemtl.cli.files import LAYOUT, check_bundle, check_data, check_inputs
from edgemtl.cli.flags import BundleFile, Device, Force, Inputs, Json, Keys, MinVersion, NativeHost, TaskList, Threads
from edgemtl.cli.lean import import_session
from edgemtl.paths import check_output_folder
from edgemtl.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.runtime import Session


def run(
    bundle: BundleFile,
    input: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for arrays, pictures and classes.")],
    task: TaskList = None,
    threads: Threads = 2,
    device: Device = None,
    native_host: NativeHost = False,
    keys: Keys = None,
    min_version: MinVersion = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run tasks on images. Writes NAME_TASK.npy (the raw output), a .png of maps, a .json of the best classes."""
    check_output_folder("-o", output)
    opening = plan_opening(bundle, device, task, keys, min_version)
    check_inputs(input)
    from edgemtl.evaluate.predict import predict_files
    from edgemtl.images import summarise_notes

    opened = _open(bundle, opening, threads, native_host, keys, min_version)
    with opened as session, step(f"running {bundle}"):
        written = [asdict(item) for item in predict_files(session, opening.tasks, input, output, force)]
    rows = [(w["image"], w["task"], w["array"], w["picture"] or w["classes"] or "none") for w in written]
    for text in summarise_notes({item["image"]: item["notes"] for item in written}):
        note(f"note: {text}")
    columns = ("image", "task", "array", "picture or classes")
    emit({"written": written}, json, lambda c: c.print(table("", columns, rows)))


def evaluate(
    bundle: BundleFile,
    data: Annotated[Path, typer.Option("--data", help=f"Folder with {LAYOUT}.")],
    task: TaskList = None,
    threads: Threads = 2,
    device: Device = None,
    native_host: NativeHost = False,
    keys: Keys = None,
    min_version: MinVersion = None,
    json: Json = False,
) -> None:
    """Measure the tasks' accuracy on a folder of images and labels.

    The images are DATA/images/NAME.png (or .jpg, .npy). The label of each is DATA/TASK/NAME.png or .npy, with the
    height and width of the task's output: class ids (segmentation) or a mask of 0 and 255 (edges, saliency) in a PNG
    with one channel; metres (depth, [H,W]) or unit vectors (normals, [3,H,W]) as float32 in .npy. The labels of a
    classification are in DATA/TASK/labels.csv, with the columns image,class.
    """
    opening = plan_opening(bundle, device, task, keys, min_version)
    check_data(data, opening.tasks)
    from edgemtl.evaluate.folder import evaluate_folder

    opened = _open(bundle, opening, threads, native_host, keys, min_version)
    with opened as session, step(f"evaluating {data}"):
        scores, notes = evaluate_folder(session, opening.tasks, data)
    for text in notes:
        note(f"note: {text}")
    tasks = [{"task": s.task, "kind": s.kind, "images": s.images, "metrics": s.metrics} for s in scores]
    document = {"tasks": tasks, "notes": list(notes)}
    rows = [(s.task, s.images, "  ".join(f"{k} {v:.4g}" for k, v in s.metrics.items())) for s in scores]
    emit(document, json, lambda c: c.print(table("measured", ("task", "images", "metrics"), rows)))


def selftest(
    bundle: BundleFile,
    threads: Threads = 2,
    device: Device = None,
    native_host: NativeHost = False,
    keys: Keys = None,
    min_version: MinVersion = None,
    json: Json = False,
) -> int:
    """Run every task's golden inputs and compare the results with the golden outputs in the bundle."""
    opening = plan_opening(bundle, device, None, keys, min_version)
    opened = _open(bundle, opening, threads, native_host, keys, min_version)
    with opened as session, step(f"testing {bundle} on {opening.device}"):
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


def _open(
    bundle: Path, opening: Opening, threads: int, native_host: bool, keys: list[Path] | None, min_version: int | None
) -> Session:
    import_session()
    from edgemtl.runtime import Session

    trusted: dict[str, Any] = {"keys": keys, "min_version": min_version}
    return Session.open(bundle, opening.device, threads, native_host=native_host, **trusted)


def _finite(document: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null stands for it."""
    return {key: None if value == math.inf else value for key, value in document.items()}


def verify(
    bundle: BundleFile,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", help="Public key file; one of the keys must have signed the bundle; repeatable."),
    ] = None,
    min_version: MinVersion = None,
    json: Json = False,
) -> None:
    """Check every section of a bundle against its SHA-256, and with --key its signature."""
    check_bundle(bundle)
    trust = read_demands("--key", key, min_version)
    from edgemtl.bundle import open_bundle

    with open_bundle(bundle, trust=trust) as opened:
        sections = [(s.name, s.bytes, s.sha256) for s in opened.manifest.sections]
        signature = asdict(opened.signature) if key and opened.signature else None
    listed = [{"name": n, "bytes": b, "sha256": h} for n, b, h in sections]
    document = {"verified": True, "signature": signature, "sections": listed}
    rows = [(n, format_bytes(b), h[:16]) for n, b, h in sections]
    emit(document, json, lambda c: _draw_verified(c, rows, signature))


def _draw_verified(console: Console, rows: list[tuple[str, str, str]], signature: dict[str, Any] | None) -> None:
    console.print(_verified(signature), markup=False, soft_wrap=True)
    console.print(table("", ("section", "size", "sha256"), rows))


def _verified(signature: dict[str, Any] | None) -> str:
    if signature is None:
        return "all sections match their hashes; no signature was checked"
    version, counter = signature["model_version"], signature["counter"]
    return f"all sections match what key {signature['key'][:16]}... signed, version {version}, counter {counter}"


def info(bundle: BundleFile, json: Json = False) -> None:
    """Show a bundle's tasks, pathways, target, memory, sections and notes."""
    check_bundle(bundle)
    from edgemtl.bundle import open_bundle

    with open_bundle(bundle) as opened:
        document = opened.manifest.to_json()
        signature = asdict(opened.signature) if opened.signature else None
    emit({"manifest": document, "signature": signature}, json, lambda c: _draw_info(c, document, signature))


def _draw_info(console: Console, document: dict[str, Any], signature: dict[str, Any] | None) -> None:
    program = document["program"]
    if signature:
        signer = f"signed, not verified: key {signature['key'][:16]}..., version {signature['model_version']}"
        console.print(
            f"{signer}, counter {signature['counter']}; bundle verify --key verifies it", markup=False, soft_wrap=True
        )
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
    bundle = add_group(app, "bundle", "Inspect, verify and sign bundles.")
    add_verb(bundle, "info", info, "bundle info")
    add_verb(bundle, "verify", verify, "bundle verify")
    sign.register(bundle)
