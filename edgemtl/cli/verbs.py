"""Every verb, and the options they share."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import edgemtl
from edgemtl.cli import build, compare, deploy, measure, models, profile, quantize, setup
from edgemtl.cli.console import VERBOSITY
from edgemtl.errors import UsageError

app = typer.Typer(
    help="Compile multi-task mixture-of-experts vision transformers, one task's pathway at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"edgemtl {edgemtl.__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more on stderr.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the verb."""
    VERBOSITY.level = 0 if quiet else 1 + verbose
    VERBOSITY.debug = debug


for room in (models, quantize, build, compare, deploy, measure, profile, setup):
    room.register(app)


def invoke(arguments: list[str]) -> int:
    """Run one command, print the help where there is none; its exit code. Raises what the verb raises."""
    try:
        outcome = app(arguments or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        raise UsageError(error.format_message()) from None
    # Typer ends the process itself where a pipe is closed, before or after it was told of it.
    except SystemExit as error:
        raise BrokenPipeError from error
    return outcome if isinstance(outcome, int) else 0
