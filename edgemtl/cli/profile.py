"""The verb profile: where a bundle's time goes, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, step, table
from edgemtl.cli.early import plan_opening
from edgemtl.cli.files import check_inputs
from edgemtl.cli.flags import BundleFile, Device, Force, Inputs, Json, Keys, MinVersion, NativeHost, TaskList, Threads
from edgemtl.cli.lean import import_session
from edgemtl.paths import check_absent, check_apart, check_output_folder

if TYPE_CHECKING:
    from edgemtl.report.profile import TaskProfile

NAMES = (
    "task",
    "steady-state latency",
    "latency",
    "image to result (estimated)",
    "a result every (estimated)",
)
"""Columns; those of a whole frame are a board's."""
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
    tasks = [
        *(_board_times(t) for t in profile.tasks),
        *({"task": t.task, "ms": t.median_ms, "first_ms": None} for t in profile.cpu_tasks),
    ]
    document = {"figures": profile.figures, "files": written, "tasks": tasks}
    rows = [tuple(value if isinstance(value, str) else _ms(value) for value in times.values()) for times in tasks]
    emit(document, json, lambda c: c.print(table(f"{profile.figures}, ms", NAMES[: len(tasks[0])], rows)))


def _board_times(task: TaskProfile) -> dict[str, str | float | None]:
    latency, frame = task.latency, task.frame
    times = {"ms": latency.steady_ms, "first_ms": latency.first_ms}
    return {"task": task.task, **times, "frame_ms": frame.latency_ms, "frame_interval_ms": frame.interval_ms}


def _ms(time: float | None) -> str:
    return "-" if time is None else f"{time:.3f}"


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "profile", profile)
