"""Ctrl-C: one line and exit code 130, whatever the program is doing, libraries' own handlers included."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
LINE = "interrupted"


@dataclass
class State:
    """Whether work has begun that may leave something behind, and whether Ctrl-C was pressed since.

    Libraries turn KeyboardInterrupt into errors of their own, or drop it.
    """

    working: bool = False
    interrupted: bool = False


STATE = State()


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
        os._exit(EXIT_CODE)
    STATE.interrupted = True
    # Destructors that the exception goes through would print a traceback each.
    sys.unraisablehook = lambda _: None
    raise KeyboardInterrupt
