"""The self-test of a bundle that was just compiled, before it gets its name."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemtl.bundle import Bundle, FpgaProgram, Program, open_bundle
from edgemtl.compare import first_apart
from edgemtl.errors import SelftestError, UnsupportedError
from edgemtl.integers import Quantised
from edgemtl.partition import TaskModel
from edgemtl.runtime.devices.hosts import HOST
from edgemtl.runtime.machine import check_this_machine
from edgemtl.tvm_bridge.target import resolve

REPORT = "open an issue with the model"


@dataclass(frozen=True)
class Miss:
    """A golden input whose output is too far off; ``error`` and ``tolerance`` are of the largest golden value."""

    task: str
    case: str
    error: float
    tolerance: float

    def __str__(self) -> str:
        error = f"relative error {self.error:.1e}" if math.isfinite(self.error) else "NaN or infinity for a number"
        return f"task {self.task} on the {self.case} golden input: {error}, {self.tolerance:.1e} allowed"


def why_not_here(program: Program | FpgaProgram) -> str | None:
    """Why this machine cannot run a program; None where it can. A board's runs in simulation anywhere."""
    return None if isinstance(program, FpgaProgram) else _obstacle(program)


def why_no_native_host(program: Program | FpgaProgram) -> str | None:
    """Why this machine cannot run the library that a board's bundle has for the CPU of a PC; None where it can."""
    return _obstacle(program.host(HOST).cpu) if isinstance(program, FpgaProgram) else None


def _obstacle(program: Program) -> str | None:
    try:
        check_this_machine(program.target)
    except UnsupportedError as error:
        return error.reason
    return None


def verify_bundle(path: Path, tasks: Sequence[TaskModel], quantised: Quantised | None) -> None:
    """Run the self-test of the bundle at ``path``, made from ``tasks``, in integers where ``quantised`` is given.

    Raises SelftestError for a program that does not give what it should, with the worst task and the first layer
    that parts, or that does not run to its end.
    """
    with open_bundle(path) as opened:
        misses = find_misses(path, opened.manifest.program)
        if not misses:
            return
        worst = max(misses, key=lambda miss: miss.error / miss.tolerance if miss.tolerance else miss.error)
        task = next(task for task in tasks if task.task.name == worst.task)
        layer = _parting(opened, worst, task, quantised)
    more = f" ({len(misses) - 1} more)" if len(misses) > 1 else ""
    where = f"; the first layer that parts: {layer}" if layer else ""
    raise SelftestError(f"the compiled program must give what the model gives: {worst}{more}{where}; {REPORT}")


def _parting(opened: Bundle, miss: Miss, task: TaskModel, quantised: Quantised | None) -> str | None:
    """The first layer whose values are off on the golden input; None where no comparison shows it."""
    program = opened.manifest.program
    if isinstance(program, FpgaProgram):
        return None
    image = next(golden.input for golden in opened.goldens(miss.task) if golden.case == miss.case)
    return first_apart(task, resolve(program.target.name, program.target.threads), quantised, image)


def find_misses(path: Path, program: Program | FpgaProgram) -> tuple[Miss, ...]:
    """Run the self-test of the bundle at ``path`` in a process of its own, since its code may crash.

    Raises SelftestError where that process is ended by a signal or fails for another reason than a difference.
    """
    flags = ["--device", "cpu"]
    if isinstance(program, FpgaProgram):
        flags = ["--device", "sim", *(["--native-host"] if why_no_native_host(program) is None else [])]
    command = [sys.executable, "-P", "-m", "edgemtl", "-q", "selftest", str(path), *flags, "--json"]
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
    scale = result["scale"] or 1.0
    error = math.inf if result["max_abs_error"] is None else result["max_abs_error"] / scale
    return Miss(result["task"], result["case"], error, result["tolerance"] / scale)
