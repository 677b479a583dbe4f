"""Verbs about the tool and its targets: targets list, targets show, doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgemtl.cli.console import emit, table
from edgemtl.cli.flags import Json

targets_app = typer.Typer(no_args_is_help=True, help="What can be compiled for.", rich_markup_mode=None)


@targets_app.command("list")
def list_targets(json: Json = False) -> None:
    """List the targets."""
    from edgemtl.driver import known_targets

    rows = known_targets()
    emit(
        {"targets": [asdict(t) for t in rows]},
        json,
        lambda c: c.print(
            table("", ("target", "processor", "vector bits"), [(t.name, t.mcpu, t.vector_bits) for t in rows])
        ),
    )


@targets_app.command("show")
def show_target(name: Annotated[str, typer.Argument(help="Target name.")], json: Json = False) -> None:
    """Show one target's parameters."""
    from edgemtl.driver import resolve_target

    fields = asdict(resolve_target(name))
    emit({"target": fields}, json, lambda c: c.print(table(name, ("parameter", "value"), list(fields.items()))))


def doctor(json: Json = False) -> int:
    """Check that what the compiler and the runtime need is here, and say what to install where it is not."""
    from edgemtl.doctor import examine

    findings = examine()
    rows = [(f.what, "ok" if f.found else "MISSING", f.detail, f.needed_for) for f in findings]
    emit(
        {"healthy": all(f.found or f.optional for f in findings), "findings": [asdict(f) for f in findings]},
        json,
        lambda c: c.print(table("", ("what", "state", "detail", "needed for"), rows)),
    )
    return 0 if all(f.found or f.optional for f in findings) else 1


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    app.add_typer(targets_app, name="targets")
    app.command("doctor")(doctor)
