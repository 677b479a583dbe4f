"""The verb profile: where a bundle's time goes, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.console import emit, step, table
from edgemtl.cli.flags import BundleFile, Json, TaskList, Threads
from edgemtl.extras import check_extra
from edgemtl.paths import check_apart, check_output_folder

REPORTS = ("report.html", "report.json", "layers.csv", "trace.json")


def profile(
    bundle: BundleFile,
    input: Annotated[
        list[Path], typer.Option("--input", help="PNG, JPEG or .npy file, or a folder of them; repeatable.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")],
    device: Annotated[str, typer.Option("--device", help="sim for a board's bundle, cpu for a CPU's.")] = "sim",
    task: TaskList = None,
    threads: Threads = 2,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Counted runs of every task on a CPU.")] = 30,
    json: Json = False,
) -> None:
    """Run tasks on images and write report.html, report.json, layers.csv and trace.json (for Perfetto)."""
    check_extra("report", "edgemtl profile")
    check_output_folder("-o", output)
    check_apart("-o", [output / name for name in REPORTS], (bundle, *input))
    from edgemtl.profiling import ProfileOptions, profile_bundle
    from edgemtl.report.profile import write_profile

    options = ProfileOptions(device, tuple(input), tuple(task or ()), threads, runs)
    with step(f"profiling {bundle} on {device}"):
        made = profile_bundle(bundle, options)
    files = [str(path) for path in write_profile(made, output)]
    times: list[tuple[str, float, float | None]] = [
        *((t.task, t.latency.steady_ms, t.latency.first_ms) for t in made.tasks),
        *((t.task, t.median_ms, None) for t in made.cpu_tasks),
    ]
    tasks = [{"task": name, "ms": ms, "first_ms": first} for name, ms, first in times]
    document = {"figures": made.figures, "files": files, "tasks": tasks}
    rows = [(name, f"{ms:.3f}", "-" if first is None else f"{first:.3f}") for name, ms, first in times]
    emit(document, json, lambda c: c.print(table(f"{made.figures}, ms", ("task", "a frame", "first frame"), rows)))


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    app.command("profile")(profile)
