"""A bundle's program as plain files, for devices without Python (`runtime/native/edgemtl_run.cc`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgemtl.bundle.fpga import FpgaProgram
from edgemtl.bundle.inputs import input_bytes, input_layout
from edgemtl.bundle.manifest import WEIGHTS, Manifest
from edgemtl.bundle.program import Program
from edgemtl.bundle.reader import Bundle
from edgemtl.errors import UnsupportedError


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
    (folder / "program.txt").write_text(_describe(program, manifest))


def _describe(program: Program, manifest: Manifest) -> str:
    """One line per space, the common prefix, and per input and task what the native runner needs of it."""
    offsets, inputs_bytes = input_layout(manifest.inputs)
    numbers = {
        "arena": program.arena_bytes,
        "prepared": program.prepared_bytes,
        "weights": program.weights_bytes,
        "inputs": inputs_bytes,
        "prefix": program.common_prefix_steps,
    }
    lines = [f"{name} {value}" for name, value in numbers.items()]
    for entry in manifest.inputs:
        place = f"{offsets[entry.name]} {input_bytes(entry)} {_npy_type(entry.dtype)}"
        lines.append(f"input {place} {_one_line(entry.name)}")
    names = [entry.name for entry in manifest.inputs]
    for name, task in program.tasks.items():
        output = f"{_npy_type(task.output.dtype)} {_sizes(task.output.shape)}"
        reads = _sizes([names.index(each) for each in manifest.task(name).inputs])
        lines.append(f"task {name} {task.entry} {task.prepare or '-'} {task.steps} {output} {reads}")
    return "\n".join(lines) + "\n"


def _sizes(numbers: Sequence[int]) -> str:
    """How many numbers there are, and the numbers."""
    return " ".join(map(str, (len(numbers), *numbers)))


def _one_line(name: str) -> str:
    if len(name.splitlines()) != 1 or name != name.strip():
        reason = "the native runner takes names of one line without blanks around"
        raise UnsupportedError(f"input {name!r}", reason, "export the model with plain names")
    return name


def _npy_type(dtype: str) -> str:
    """How an .npy file spells a type."""
    return np.dtype(dtype).newbyteorder("<").str
