"""Every verb, and the options they share. Only the module of the verb that was asked for is imported."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import edgemtl
from edgemtl.cli.command import Debug, Quiet, Verbose, listen
from edgemtl.cli.console import VERBOSITY
from edgemtl.errors import UsageError
from edgemtl.suggest import nearest

MODULES = {
    "export": "export",
    "inspect": "models",
    "check": "models",
    "merge": "merge",
    "quantize": "quantize",
    "compile": "build",
    "compare": "compare",
    "run": "deploy",
    "eval": "deploy",
    "selftest": "deploy",
    "bench": "measure",
    "profile": "profile",
    "disassemble": "streams",
    "export-vectors": "streams",
    "bundle": "deploy",
    "targets": "setup",
    "doctor": "setup",
}
"""By verb, the module of this folder that has it."""
WORDS = (
    (re.compile(r"^Invalid value for '([^']+)'( / '[^']+')?: Input should be "), r"\1 must be "),
    (re.compile(r"^Missing (argument|option) '([^']+)'( / '[^']+')?"), r"\2 must be given"),
    (re.compile(r"^Missing command"), "a verb must be given"),
    (re.compile(r"a valid integer, unable to parse string as an integer"), "a whole number"),
    (re.compile(r"a valid number, unable to parse string as a number"), "a number"),
    (re.compile(r"greater than or equal to "), "at least "),
    (re.compile(r"less than or equal to "), "at most "),
)
"""Typer's messages in the form of ours."""
COMPLETION = "_EDGEMTL_COMPLETE"
"""The variable by which a shell asks for completions; the words are elsewhere then."""


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"edgemtl {edgemtl.__version__}\n")
        raise typer.Exit


def options(
    verbose: Verbose = 0,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compile multi-task mixture-of-experts vision transformers, one task's pathway at a time."""
    listen(verbose, quiet, debug)


def make_app(verbs: Sequence[str] = tuple(MODULES)) -> typer.Typer:
    """The program with the verbs of the modules that have ``verbs``."""
    app = typer.Typer(
        callback=options,
        epilog="Each verb has examples: edgemtl VERB --help.",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    for module in dict.fromkeys(MODULES[verb] for verb in verbs):
        importlib.import_module(f"edgemtl.cli.{module}").register(app)
    return app


def invoke(arguments: list[str]) -> int:
    """Run one command, print the help where there is none; its exit code. Raises what the verb raises."""
    VERBOSITY.level, VERBOSITY.debug = 1, False
    verb = None if COMPLETION in os.environ else _find_verb(arguments)
    app = make_app([verb] if verb else tuple(MODULES))
    try:
        outcome = app(arguments or ["--help"], prog_name="edgemtl", standalone_mode=False)
    except typer.TyperException as error:
        raise UsageError(_spell(error)) from None
    except SystemExit as error:
        # Typer ends the process itself after a completion, and where a pipe is closed.
        if error.code:
            raise BrokenPipeError from error
        return 0
    return outcome if isinstance(outcome, int) else 0


def _find_verb(arguments: Sequence[str]) -> str | None:
    """The first word that is no option: none of those in front of the verb has a value. Raises UsageError."""
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb is not None and verb not in MODULES:
        name = nearest(verb, MODULES)
        hint = f"did you mean {name!r}?" if name else f"the verbs are {', '.join(MODULES)}"
        raise UsageError(f"{verb!r} is not a verb of edgemtl; {hint}")
    return verb


def _spell(error: typer.TyperException) -> str:
    """What typer says in one line and in our words, and where to read on."""
    text = " ".join(error.format_message().split()).rstrip(".")
    for pattern, words in WORDS:
        text = pattern.sub(words, text)
    context = getattr(error, "ctx", None)
    return f"{text}; see `{context.command_path if context else 'edgemtl'} --help`"
