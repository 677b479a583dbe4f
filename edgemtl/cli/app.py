"""The program: options every verb shares, and the way from an error to its exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import edgemtl
from edgemtl.cli import build, compare, deploy, measure, models, profile, quantize, setup
from edgemtl.cli.console import VERBOSITY, note
from edgemtl.errors import EdgemtlError

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


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 usage, 3 unsupported, 4 over budget, 5 integrity."""
    try:
        outcome = app(arguments or sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.Abort:
        return _fail("interrupted", 130)
    except typer.TyperException as error:
        return _fail(error.format_message(), 2)
    except EdgemtlError as error:
        if VERBOSITY.debug:
            raise
        return _fail(str(error), error.exit_code)
    except Exception as error:
        if VERBOSITY.debug:
            raise
        return _fail(f"internal error, please report it: {type(error).__name__}: {error}; --debug shows where", 1)
    return outcome if isinstance(outcome, int) else 0


def _fail(message: str, code: int) -> int:
    note(f"error: {message}", level=0)
    return code


def run() -> None:
    """The console script."""
    sys.exit(main())
