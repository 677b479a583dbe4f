"""The program: the way from an error, a closed pipe or Ctrl-C to its exit code. It imports verbs last."""

from __future__ import annotations

import contextlib
import os
import sys

from edgemtl.cli import interrupts
from edgemtl.errors import EdgemtlError, OutputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 usage, 3 unsupported, 4 over budget, 5 integrity, 130 Ctrl-C.

    With --json a failure is a document on stdout too.
    """
    words = sys.argv[1:] if arguments is None else arguments
    # Asked of the words, since a command that cannot be parsed fails too.
    interrupts.STATE.as_json = "--json" in words
    try:
        code = _run(words)
    except (KeyboardInterrupt, Exception):
        if not interrupts.STATE.interrupted:
            raise
        code = interrupts.EXIT_CODE
    if code == interrupts.EXIT_CODE:
        _say(interrupts.LINE)
        _print_document(interrupts.LINE, interrupts.LINE, code)
    return code


def _run(words: list[str]) -> int:
    try:
        _check_streams()
        from edgemtl.cli.verbs import invoke

        return invoke(words)
    except KeyboardInterrupt:
        return interrupts.EXIT_CODE
    except BrokenPipeError:
        return 1
    except Exception as error:
        return _explain(error)


def _explain(error: Exception) -> int:
    """Say what went wrong in one line; the exit code. With --debug the error goes on to Python."""
    from edgemtl.cli.console import VERBOSITY

    if interrupts.STATE.interrupted:
        return interrupts.EXIT_CODE
    if VERBOSITY.debug:
        raise error
    kind, text, code = _describe(error)
    text = " ".join(text.split())
    _say(f"error: {text}")
    _print_document(kind, text, code)
    return code


def _describe(error: Exception) -> tuple[str, str, int]:
    """Of what kind an error is, its text and its exit code."""
    if isinstance(error, EdgemtlError):
        return type(error).__name__.removesuffix("Error").lower(), str(error), error.exit_code
    if isinstance(error, OSError):
        text = f"{error.filename or 'a system call'} must succeed, but it failed: {error.strerror or error}"
        return "system", text, 1
    if isinstance(error, MemoryError):
        text = "this needs more memory than this machine has; close other programs or use a smaller model"
        return "memory", text, 4
    text = f"internal error, please report it: {type(error).__name__}: {error}; --debug shows where"
    return "internal", text, 1


def _print_document(kind: str, message: str, code: int) -> None:
    """With --json the failure as a document on stdout, where that is open."""
    if interrupts.STATE.as_json:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.write(interrupts.error_document(kind, message, code))
            sys.stdout.flush()


def _check_streams() -> None:
    """Standard output must be open before work is spent. A closed standard error takes nothing."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if sys.stdout is None:
        raise OutputError("standard output must be open, but it is closed; redirect it to a file or to /dev/null")


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def run() -> None:
    """The console script."""
    interrupts.install()
    code = main()
    interrupts.end_work()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Python would complain once more at its end of what it could not write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
