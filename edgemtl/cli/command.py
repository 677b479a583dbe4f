"""A verb as typer takes it: its function, the options that every verb has, and its examples."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from edgemtl.cli.console import VERBOSITY
from edgemtl.cli.examples import EXAMPLES
from edgemtl.extras import check_extra

Verb = Callable[..., int | None]

NEEDS = {
    **dict.fromkeys(("inspect", "check", "merge", "compile", "quantize", "compare"), "compile"),
    "export": "export",
    "profile": "report",
    **dict.fromkeys(("bundle keygen", "bundle sign"), "sign"),
}
"""By its words, the extra that a verb needs; the others run on a base install."""

Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Print more on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def listen(verbose: int = 0, quiet: bool = False, debug: bool = False) -> None:
    """Change how much goes to stderr; what was said before, as an option in front of the verb, stays."""
    VERBOSITY.level = 0 if quiet else VERBOSITY.level + verbose
    VERBOSITY.debug = VERBOSITY.debug or debug


def add_verb(app: typer.Typer, name: str, function: Verb, path: str | None = None) -> None:
    """Add a verb to ``app``, with --verbose, --quiet and --debug; ``path``: all its words, where it has several."""
    words = path or name
    app.command(name, epilog=_epilog(words))(_with_verbosity(function, words))


def add_group(app: typer.Typer, name: str, about: str) -> typer.Typer:
    """Add a word that verbs stand behind to ``app``; the verbs are added to what is returned."""
    group = typer.Typer(help=about, callback=listen_in_group, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


def listen_in_group(verbose: Verbose = 0, quiet: Quiet = False, debug: Debug = False) -> None:
    """`listen`, for options that stand between the words of a verb."""
    listen(verbose, quiet, debug)


def _with_verbosity(function: Verb, words: str) -> Verb:
    """``function`` with the options on what goes to stderr behind its own; it is refused where its extra is missing."""

    @functools.wraps(function)
    def heard(**values: Any) -> int | None:
        listen(values.pop("verbose"), values.pop("quiet"), values.pop("debug"))
        if words in NEEDS:
            check_extra(NEEDS[words], f"edgemtl {words}")
        return function(**values)

    def options(verbose: Verbose = 0, quiet: Quiet = False, debug: Debug = False) -> None: ...

    own, more = (inspect.signature(part, eval_str=True) for part in (function, options))
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for signature in (own, more)
        for parameter in signature.parameters.values()
    ]
    heard.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return heard


def _epilog(path: str) -> str:
    lines = "\n".join(f"  {line}" for line in EXAMPLES[path])
    return f"\b\nExamples:\n{lines}"
