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
from edgemtl.emulation import Emulator, emulate_goldens, find_emulator
from edgemtl.errors import EdgemtlError, SelftestError, UnsupportedError
from edgemtl.partition import TaskModel
from edgemtl.processor import architecture_of, find_obstacle, resolve, this_processor
from edgemtl.quantize.quantised_model import Quantised
from edgemtl.runtime.devices.hosts import HOST
from edgemtl.runtime.records import SelftestResult
from edgemtl.runtime.selftest import compare_golden

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


def why_no_native_host(program: Program | FpgaProgram) -> str:
    """Why this machine cannot run the library that a board's bundle has for the CPU of a PC; "" where it can."""
    return find_obstacle(program.host(HOST).cpu.target, this_processor()) if isinstance(program, FpgaProgram) else ""


def choose_way(program: Program | FpgaProgram) -> Emulator | None:
    """How this machine runs a program: under an emulator, or (None) itself. A board's is simulated on any machine.

    Raises UnsupportedError where neither can be.
    """
    if isinstance(program, FpgaProgram):
        return None
    processor = this_processor()
    obstacle = find_obstacle(program.target, processor)
    if not obstacle:
        return None
    architecture = architecture_of(program.target)
    if architecture == processor.architecture:
        raise UnsupportedError(f"target {program.target.name}", obstacle, "run `edgemtl selftest` on its device")
    try:
        return find_emulator(architecture)
    except UnsupportedError as error:
        reason = f"{obstacle}, and {error.reason}"
        raise UnsupportedError(f"target {program.target.name}", reason, error.hint) from None


def verify_bundle(path: Path, tasks: Sequence[TaskModel], quantised: Quantised | None) -> None:
    """Run the self-test of the bundle at ``path``, made from ``tasks``, in integers where ``quantised`` is given.

    Raises SelftestError for a program that does not give what it should, with the worst task and the first layer
    that parts, or that does not run to its end.
    """
    with open_bundle(path) as opened:
        emulator = choose_way(opened.manifest.program)
        misses = find_emulated_misses(opened, emulator) if emulator else find_misses(path, opened.manifest.program)
        if not misses:
            return
        worst = max(misses, key=lambda miss: miss.error / miss.tolerance if miss.tolerance else miss.error)
        layer = None if emulator else _parting(opened, worst, tasks, quantised)
    more = f" ({len(misses) - 1} more)" if len(misses) > 1 else ""
    where = f"; the first layer that parts: {layer}" if layer else ""
    raise SelftestError(f"the compiled program must give what the model gives: {worst}{more}{where}; {REPORT}")


def _parting(opened: Bundle, miss: Miss, tasks: Sequence[TaskModel], quantised: Quantised | None) -> str | None:
    """The first layer whose values are off on the golden input; None where no comparison shows it."""
    program = opened.manifest.program
    if isinstance(program, FpgaProgram):
        return None
    task = next(task for task in tasks if task.task.name == miss.task)
    frame = next(golden.inputs for golden in opened.goldens(miss.task) if golden.case == miss.case)
    return first_apart(task, resolve(program.target.name, program.target.threads), quantised, frame)


def find_misses(path: Path, program: Program | FpgaProgram) -> tuple[Miss, ...]:
    """Run the self-test of the bundle at ``path`` in a process of its own, since its code may crash.

    Raises SelftestError where that process is ended by a signal or fails for another reason than a difference.
    """
    flags = ["--device", "cpu"]
    if isinstance(program, FpgaProgram):
        flags = ["--device", "sim", *([] if why_no_native_host(program) else ["--native-host"])]
    command = [sys.executable, "-P", "-m", "edgemtl", "-q", "selftest", str(path), *flags, "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise SelftestError(f"the compiled program must run its self-test, and was ended by {name}; {REPORT}")
    try:
        results = [_read_result(result) for result in json.loads(done.stdout)["tasks"]]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
        raise SelftestError(f"the compiled program must run its self-test, and did not: {reason}") from None
    return tuple(_miss(result) for result in results if not result.passed)


def _read_result(document: dict[str, Any]) -> SelftestResult:
    """A result as the verb prints it: JSON has no infinity and says null."""
    error = document["max_abs_error"]
    return SelftestResult(**{**document, "max_abs_error": math.inf if error is None else error})


def _miss(result: SelftestResult) -> Miss:
    scale = result.scale or 1.0
    return Miss(result.task, result.case, result.max_abs_error / scale, result.tolerance / scale)


def find_emulated_misses(bundle: Bundle, emulator: Emulator) -> tuple[Miss, ...]:
    """Run the self-test of a CPU bundle under ``emulator``. Raises SelftestError where it does not run to its end."""
    try:
        results = [compare_golden(golden, output) for golden, output in emulate_goldens(bundle, emulator)]
    except EdgemtlError as error:
        raise SelftestError(f"the compiled program must run its self-test, and did not: {error}") from None
    return tuple(_miss(result) for result in results if not result.passed)
