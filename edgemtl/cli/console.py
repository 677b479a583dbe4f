"""Printing: one JSON document or tables on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgemtl.cli import interrupts
from edgemtl.cli.interrupts import SCHEMA_VERSION
from edgemtl.errors import OutputError
from edgemtl.progress import Count, Listener, listening

if TYPE_CHECKING:
    # rich is imported where something is drawn: most commands that fail draw nothing.
    from rich.console import Console
    from rich.table import Table

PIPE_COLUMNS = 200
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between lines that say how far a step is, where stderr is no terminal."""


@dataclass
class Verbosity:
    """How much goes to stderr: 0 errors only, 1 the steps of long work, 2 details; and whether to show tracebacks."""

    level: int = 1
    debug: bool = False


VERBOSITY = Verbosity()


def note(text: str, level: int = 1) -> None:
    """One line on stderr, shown from verbosity ``level`` on."""
    if VERBOSITY.level >= level:
        _print_aside(text)


def _print_aside(text: str) -> None:
    """A line on stderr; where that is full or closed, the work goes on without it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[None]:
    """One step of long work, its duration and how far it is: a spinner on a terminal, elsewhere a line now and then."""
    interrupts.begin_work()
    start = time.perf_counter()
    if VERBOSITY.level < 1:
        yield
        return
    with _spinner(title) if sys.stderr.isatty() else nullcontext(_sparse_lines(title)) as listener, listening(listener):
        yield
    _print_aside(f"{title} ({time.perf_counter() - start:.1f} s)")


@contextmanager
def _spinner(title: str) -> Iterator[Listener]:
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(title)) as status:
        yield lambda count: status.update(escape(f"{title}: {count}"))


def _sparse_lines(title: str) -> Listener:
    """A line after a second, then after twice the time of the line before, half a minute at most."""
    last, pause = time.perf_counter(), FIRST_PAUSE

    def listen(count: Count) -> None:
        nonlocal last, pause
        if time.perf_counter() - last >= pause and count.done < count.total:
            _print_aside(f"{title}: {count}")
            last, pause = time.perf_counter(), min(2 * pause, LONGEST_PAUSE)

    return listen


def emit(document: Mapping[str, Any], as_json: bool, render: Callable[[Console], None]) -> None:
    """Print ``document`` as one JSON document, or let ``render`` draw it for people. Raises OutputError."""
    try:
        if as_json:
            sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=1) + "\n")
        else:
            render(_page())
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output must accept the result, but writing failed: {error.strerror}") from error


def _page() -> Console:
    """A console that leaves it to the program what a closed pipe means."""
    from rich.console import Console

    class Page(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    # A file or a pipe has no width to fit.
    return Page(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column is left aligned and whose others are right aligned."""
    from rich.table import Table

    grid = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*[str(cell) for cell in row])
    return grid
