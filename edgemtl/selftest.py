"""The self-test of a bundle that was just compiled, before it gets its name."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemtl.bundle import FpgaProgram, Program
from edgemtl.errors import SelftestError, UnsupportedError
from edgemtl.runtime.machine import check_this_machine

REPORT = "open an issue with the model"


@dataclass(frozen=True)
class Miss:
    """A golden input whose output is too far off; ``error`` and ``tolerance`` are of the largest golden value."""

    task: str
    case: str
    error: float
    tolerance: float

    def __str__(self) -> str:
        error = (
            "an infinity or NaN in the wrong place" if math.isinf(self.error) else f"relative error {self.error:.1e}"
        )
        return f"task {self.task} on the {self.case} golden input: {error}, {self.tolerance:.1e} allowed"


def why_not_here(program: Program | FpgaProgram) -> str | None:
    """Why this machine cannot run a program; None where it can. A board's runs in simulation anywhere."""
    if isinstance(program, FpgaProgram):
        return None
    try:
        check_this_machine(program.target)
    except UnsupportedError as error:
        return error.reason
    return None


def find_misses(path: Path, program: Program | FpgaProgram) -> tuple[Miss, ...]:
    """Run the self-test of the bundle at ``path`` in a process of its own, since its code may crash.

    Raises SelftestError where that process is ended by a signal or fails for another reason than a difference.
    """
    device = "sim" if isinstance(program, FpgaProgram) else "cpu"
    command = [sys.executable, "-P", "-m", "edgemtl", "-q", "selftest", str(path), "--device", device, "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise SelftestError(f"the compiled program must run its self-test, and was ended by {name}; {REPORT}")
    try:
        return tuple(_miss(result) for result in json.loads(done.stdout)["tasks"] if not result["passed"])
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
        raise SelftestError(f"the compiled program must run its self-test, and did not: {reason}") from None


def _miss(result: dict[str, Any]) -> Miss:
    error, scale = result["max_abs_error"], result["scale"] or 1.0
    return Miss(
        result["task"], result["case"], math.inf if error is None else error / scale, result["tolerance"] / scale
    )
