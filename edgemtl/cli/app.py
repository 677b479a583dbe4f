"""The program: the way from an error, a closed pipe or Ctrl-C to its exit code. It imports verbs last."""

from __future__ import annotations

import contextlib
import os
import sys

from edgemtl.cli import interrupts
from edgemtl.errors import EdgemtlError, OutputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 usage, 3 unsupported, 4 over budget, 5 integrity, 130 Ctrl-C."""
    try:
        code = _run(arguments)
    except (KeyboardInterrupt, Exception):
        if not interrupts.STATE.interrupted:
            raise
        code = interrupts.EXIT_CODE
    if code == interrupts.EXIT_CODE:
        _say(interrupts.LINE)
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        _check_streams()
        from edgemtl.cli.verbs import invoke

        return invoke(sys.argv[1:] if arguments is None else arguments)
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
    if isinstance(error, EdgemtlError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, OSError):
        return _fail(f"{error.filename or 'a system call'} must succeed, and it failed: {error.strerror or error}", 1)
    if isinstance(error, MemoryError):
        return _fail("this needs more memory than this machine gives; close other programs or take a smaller model", 4)
    return _fail(f"internal error, please report it: {type(error).__name__}: {error}; --debug shows where", 1)


def _check_streams() -> None:
    """Standard output must be open before work is spent. A closed standard error takes nothing."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if sys.stdout is None:
        raise OutputError("standard output must be open, and it is closed; redirect it to a file or to /dev/null")


def _fail(message: str, code: int) -> int:
    _say(f"error: {message}")
    return code


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
