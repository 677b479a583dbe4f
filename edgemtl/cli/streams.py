"""The verbs disassemble and export-vectors: a board's instruction streams for people and for testbenches."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit, step
from edgemtl.cli.early import plan_opening
from edgemtl.cli.flags import BundleFile, Force, Json, NativeHost, TaskList
from edgemtl.paths import check_absent, check_output_folder

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.vectors import Listing


def disassemble(bundle: BundleFile, task: TaskList = None, json: Json = False) -> None:
    """Print a board's instructions: each with its operands, the units it waits for (<) and signals (>)."""
    opening = plan_opening(bundle, None, task, None, None)
    from edgemtl.vectors import list_streams

    listings = list(list_streams(bundle, opening.tasks))
    emit({"segments": [asdict(listing) for listing in listings]}, json, lambda c: _draw(c, listings))


def _draw(console: Console, listings: list[Listing]) -> None:
    for listing in listings:
        console.print(f"{listing.task}, segment {listing.segment}", markup=False)
        layer = ""
        for place, (name, line) in enumerate(zip(listing.layers, listing.lines, strict=True)):
            if name != layer:
                console.print(f"  {name}", markup=False)
            console.print(f"{place:6}  {line}", markup=False, highlight=False, soft_wrap=True)
            layer = name


def export_vectors(
    bundle: BundleFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the vectors.")],
    task: TaskList = None,
    native_host: NativeHost = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a board's streams, images of DRAM and expected results, for a testbench of your own."""
    check_output_folder("-o", output)
    check_absent("-o", [output / "vectors.json"], force)
    opening = plan_opening(bundle, None, task, None, None)
    from edgemtl.vectors import write_vectors

    with step(f"simulating {bundle}"):
        files = write_vectors(bundle, output, opening.tasks, native_host)
    written = [str(output / name) for name in files]
    emit({"files": written}, json, lambda c: c.print("\n".join(written), markup=False, soft_wrap=True))


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    add_verb(app, "disassemble", disassemble)
    add_verb(app, "export-vectors", export_vectors)
