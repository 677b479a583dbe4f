"""The runner for devices without Python: built here, run here or under emulation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgemtl.bundle import extract_program, open_bundle
from edgemtl.operators import Frame

ROOT = Path(__file__).parents[2]


def build(out: Path, *settings: str) -> Path:
    """``edgemtl_run``; ``settings`` are the Makefile's."""
    command = ["make", "-C", str(ROOT / "runtime" / "native"), f"PYTHON={sys.executable}", f"OUT={out}", *settings]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out


def extract(bundle: Path, folder: Path) -> Path:
    """The bundle's program in ``folder``."""
    with open_bundle(bundle) as opened:
        extract_program(opened, folder)
    return folder


def run(
    runner: Sequence[str],
    program: Path,
    inputs: np.ndarray | Frame,
    folder: Path,
    tasks: Sequence[str],
    repeat: int = 1,
) -> dict[str, np.ndarray]:
    """What the runner says of ``tasks`` on an image, or on inputs by name."""
    if isinstance(inputs, Mapping):
        files = {name: folder / f"{name}.npy" for name in inputs}
        for name, array in inputs.items():
            np.save(files[name], array)
        given = ",".join(f"{name}={file}" for name, file in files.items())
    else:
        np.save(folder / "input.npy", inputs)
        given = str(folder / "input.npy")
    words = [*runner, str(program), given, str(folder), str(repeat), *tasks]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    if done.returncode:
        raise RuntimeError(done.stderr)
    assert len(done.stdout.split()) == repeat
    return {task: np.load(folder / f"{task}.npy") for task in tasks}
