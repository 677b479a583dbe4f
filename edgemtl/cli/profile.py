"""The verb profile: where a bundle's time goes, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, step, table
from edgemtl.cli.early import plan_opening
from edgemtl.cli.files import check_inputs
from edgemtl.cli.flags import BundleFile, Device, Force, Inputs, Json, Keys, MinVersion, NativeHost, TaskList, Threads
from edgemtl.cli.lean import import_session
from edgemtl.paths import check_absent, check_apart, check_output_folder

REPORTS = ("report.html", "report.json", "layers.csv", "trace.json")


def profile(
    bundle: BundleFile,
    input: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")],
    device: Device = None,
    task: TaskList = None,
    threads: Threads = 2,
    runs: Annotated[int, typer.Option("--runs", min=1, help="For a CPU: counted runs of each task.")] = 30,
    native_host: NativeHost = False,
    keys: Keys = None,
    min_version: MinVersion = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run tasks on images and write report.html, report.json, layers.csv and trace.json (for Perfetto)."""
    check_output_folder("-o", output)
    files = [output / name for name in REPORTS]
    check_apart("-o", files, (bundle, *input))
    check_absent("-o", files, force)
    opening = plan_opening(bundle, device, task, keys, min_version)
    check_inputs(input)
    import_session()
    from edgemtl.profiling import ProfileOptions, profile_bundle
    from edgemtl.report.profile import write_profile

    trusted = (tuple(keys) if keys else None, min_version)
    options = ProfileOptions(opening.device, tuple(input), opening.tasks, threads, runs, *trusted, native_host)
    with step(f"profiling {bundle} on {opening.device}"):
        profile = profile_bundle(bundle, options)
    written = [str(path) for path in write_profile(profile, output)]
    times: list[tuple[str, float, float | None]] = [
        *((t.task, t.latency.steady_ms, t.latency.first_ms) for t in profile.tasks),
        *((t.task, t.median_ms, None) for t in profile.cpu_tasks),
    ]
    tasks = [{"task": name, "ms": ms, "first_ms": first} for name, ms, first in times]
    document = {"figures": profile.figures, "files": written, "tasks": tasks}
    rows = [(name, f"{ms:.3f}", "-" if first is None else f"{first:.3f}") for name, ms, first in times]
    emit(
        document,
        json,
        lambda c: c.print(table(f"{profile.figures}, ms", ("task", "steady-state latency", "latency"), rows)),
    )


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "profile", profile)
