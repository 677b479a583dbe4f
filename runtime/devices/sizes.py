"""Whether a program was compiled for the sizes its manifest states, asked before any step of it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from edgemtl.bundle import Program
from edgemtl.errors import ConfigError

# What an entry compiled by TVM says of a space that does not have the bytes it was compiled for.
_MISMATCH = re.compile(r"Invalid (?P<space>\w+)\.shape\[0\] .*expected (?P<bytes>\d+)", re.DOTALL)


def check_sizes(program: Program, task: str, entry: Callable[..., Any], spaces: Sequence[object]) -> None:
    """Raise ConfigError where an entry of ``task`` was compiled for other sizes than the manifest states.

    An entry compares the sizes of its spaces before its first step: run without steps, it does nothing else.
    """
    try:
        entry(*spaces, 0, 0)
    except Exception as error:
        message = str(error)
    else:
        return
    mismatch = _MISMATCH.search(message)
    if mismatch is None or mismatch["space"] not in (stated := _stated(program, task)):
        raise ConfigError(f"{task}: its program must run without steps, and failed; {message}") from None
    where, value = stated[mismatch["space"]]
    what = f"of {mismatch['bytes']} bytes, as {task} was compiled"
    raise ConfigError(f"manifest.{where} must be {what}, not {value}; compile the bundle again")


def _stated(program: Program, task: str) -> dict[str, tuple[str, object]]:
    """For each space of an entry, its field in the manifest and what that says."""
    return {
        "arena": ("program.arena_bytes", program.arena_bytes),
        "weights": ("program.weights_bytes", program.weights_bytes),
        "prepared": ("program.prepared_bytes", program.prepared_bytes),
        "inputs": ("inputs", "what it says"),
        "output": (f"program.tasks.{task}.output.shape", list(program.tasks[task].output.shape)),
    }
