"""Printing: one JSON document or tables on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from edgemtl.cli import interrupts
from edgemtl.errors import OutputError

SCHEMA_VERSION = 1
PIPE_COLUMNS = 200


@dataclass
class Verbosity:
    """How much goes to stderr: 0 errors only, 1 the steps of long work, 2 details; and whether to show tracebacks."""

    level: int = 1
    debug: bool = False


VERBOSITY = Verbosity()


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str, level: int = 1) -> None:
    """One line on stderr, shown from verbosity ``level`` on."""
    if VERBOSITY.level >= level:
        _print_aside(text)


def _print_aside(text: str) -> None:
    """A line on stderr; where that is full or closed, the work goes on without it."""
    with suppress(OSError):
        _stderr().print(text, markup=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """One step of long work: a spinner on a terminal, plain lines elsewhere, with its duration."""
    interrupts.begin_work()
    console, start = _stderr(), time.perf_counter()
    if VERBOSITY.level < 1:
        yield
        return
    if console.is_terminal:
        with console.status(title):
            yield
    else:
        yield
    _print_aside(f"{title} ({time.perf_counter() - start:.1f} s)")


class _Page(Console):
    """A console that leaves it to the program what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def emit(document: Mapping[str, Any], as_json: bool, render: Callable[[Console], None]) -> None:
    """Print ``document`` as one JSON document, or let ``render`` draw it for people. Raises OutputError."""
    try:
        if as_json:
            sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=1) + "\n")
        else:
            # A file or a pipe has no width to fit.
            render(_Page(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output must take the result, and that failed: {error.strerror}") from error


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column is left aligned and whose others are right aligned."""
    made = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*[str(cell) for cell in row])
    return made
