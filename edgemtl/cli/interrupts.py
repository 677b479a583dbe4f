"""Ctrl-C: one line and exit code 130, whatever the program is doing, libraries' own handlers included."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from types import FrameType

SCHEMA_VERSION = 1
"""Of every document that --json prints."""
EXIT_CODE = 128 + signal.SIGINT
LINE = "interrupted"


@dataclass
class State:
    """Whether work has begun that may leave something behind, whether Ctrl-C was pressed since, and whether a failure
    is printed as JSON.

    Libraries turn KeyboardInterrupt into errors of their own, or drop it.
    """

    working: bool = False
    interrupted: bool = False
    as_json: bool = False


STATE = State()


def error_document(kind: str, message: str, exit_code: int) -> str:
    """What --json prints of a failure."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "error": {"kind": kind, "message": message, "exit_code": exit_code},
    }
    return json.dumps(document, indent=1) + "\n"


def install() -> None:
    """Take over Ctrl-C, unless whoever started the program had it ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def begin_work() -> None:
    """From here on Ctrl-C lets what was begun be cleaned up. Raises KeyboardInterrupt where one was dropped."""
    STATE.working = True
    if STATE.interrupted:
        raise KeyboardInterrupt


def end_work() -> None:
    """The result is there: Ctrl-C comes too late."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C does not wait
    if not STATE.working:
        os.write(2, f"{LINE}\n".encode())
        if STATE.as_json:
            os.write(1, error_document(LINE, LINE, EXIT_CODE).encode())
        os._exit(EXIT_CODE)
    STATE.interrupted = True
    # Destructors that the exception goes through would print a traceback each.
    sys.unraisablehook = lambda _: None
    raise KeyboardInterrupt
