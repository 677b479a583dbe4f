"""The verb bench: latency per task and the cost of a switch, measured on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, step, table
from edgemtl.cli.early import plan_opening
from edgemtl.cli.flags import BundleFile, Device, Json, Keys, MinVersion, TaskList, Threads
from edgemtl.cli.lean import import_session
from edgemtl.errors import UnsupportedError


def bench(
    bundle: BundleFile,
    task: TaskList = None,
    threads: Threads = 2,
    device: Device = None,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Warm-up runs, which are not counted.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Counted runs of each task.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the input image.")] = 0,
    keys: Keys = None,
    min_version: MinVersion = None,
    json: Json = False,
) -> None:
    """Measure latency per task (median, p10, p90) and the switch cost: first run after a switch minus a steady run."""
    opening = plan_opening(bundle, device, task, keys, min_version)
    if opening.device != "cpu":
        hint = "use `edgemtl profile` for the board's simulated time"
        raise UnsupportedError(f"bench {bundle}", "a simulation's speed here says nothing about the board", hint)
    from edgemtl.evaluate.latency import measure_latency

    import_session()
    from edgemtl.runtime import Session

    opened = Session.open(bundle, opening.device, threads, keys=keys, min_version=min_version)
    with opened as session, step("measuring"):
        rows = measure_latency(session, opening.tasks, warmup, runs, seed)
    document = {"figures": "measured", "threads": threads, "tasks": [row.to_json() for row in rows]}
    cells = [(r.task, *(f"{v:.3f}" for v in (r.median_ms, r.p10_ms, r.p90_ms, r.switch_ms))) for r in rows]
    emit(
        document,
        json,
        lambda c: c.print(table(f"measured, ms, {threads} threads", ("task", "median", "p10", "p90", "switch"), cells)),
    )


def register(app: typer.Typer) -> None:
    """Add this module's verb to ``app``."""
    add_verb(app, "bench", bench)
