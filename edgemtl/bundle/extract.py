"""A bundle's program as plain files, for devices without Python (`runtime/native/edgemtl_run.cc`)."""

from __future__ import annotations

from math import prod
from pathlib import Path

from edgemtl.bundle.fpga import FpgaProgram
from edgemtl.bundle.manifest import WEIGHTS
from edgemtl.bundle.program import Program
from edgemtl.bundle.reader import Bundle
from edgemtl.errors import UnsupportedError

FLOAT_BYTES = 4


def extract_program(bundle: Bundle, folder: Path) -> None:
    """Write `cpu.so`, `weights.bin` and `program.txt` into ``folder``, which is made where it is missing.

    Raises UnsupportedError for a bundle whose program is for an FPGA.
    """
    manifest = bundle.manifest
    program = manifest.program
    if isinstance(program, FpgaProgram):
        reason = f"it holds a program for the FPGA of {program.board.name}, and the native runner drives CPUs only"
        raise UnsupportedError(str(bundle.path), reason, "compile it with --target cpu-a53")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.so").write_bytes(bundle.member(program.library))
    (folder / WEIGHTS).write_bytes(bundle.section(WEIGHTS))
    (folder / "program.txt").write_text(_describe(program, FLOAT_BYTES * prod(manifest.input.shape)))


def _describe(program: Program, image_bytes: int) -> str:
    """One line per space, the common prefix, and per task: name, entry, prepare or -, steps, output shape."""
    numbers = {
        "arena": program.arena_bytes,
        "prepared": program.prepared_bytes,
        "weights": program.weights_bytes,
        "image": image_bytes,
        "prefix": program.common_prefix_steps,
    }
    lines = [f"{name} {value}" for name, value in numbers.items()]
    for name, task in program.tasks.items():
        shape = " ".join(map(str, task.output.shape))
        lines.append(f"task {name} {task.entry} {task.prepare or '-'} {task.steps} {shape}")
    return "\n".join(lines) + "\n"
