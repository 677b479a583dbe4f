"""The verb bench: latency per task and the cost of a switch, measured on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgemtl.cli.console import emit, step, table
from edgemtl.cli.flags import BundleFile, Json, Keys, MinVersion, TaskList, Threads, chosen_tasks


def bench(
    bundle: BundleFile,
    task: TaskList = None,
    threads: Threads = 2,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Runs that are not counted.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Counted runs of every task.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Draws the input image.")] = 0,
    keys: Keys = None,
    min_version: MinVersion = None,
    json: Json = False,
) -> None:
    """Measure latency per task (median, p10, p90) and the switch cost: first run after a switch less a steady run."""
    from edgemtl.evaluate.latency import measure_latency
    from edgemtl.runtime import Session

    opened = Session.open(bundle, threads=threads, keys=keys, min_version=min_version)
    with opened as session, step("measuring"):
        rows = measure_latency(session, chosen_tasks(task, session.tasks), warmup, runs, seed)
    document = {"figures": "measured", "threads": threads, "tasks": [row.to_json() for row in rows]}
    cells = [(r.task, *(f"{v:.3f}" for v in (r.median_ms, r.p10_ms, r.p90_ms, r.switch_ms))) for r in rows]
    emit(
        document,
        json,
        lambda c: c.print(table(f"measured, ms, {threads} threads", ("task", "median", "p10", "p90", "switch"), cells)),
    )


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    app.command("bench")(bench)
