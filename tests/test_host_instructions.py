"""Counts of executed instructions: a program of known size under the emulator, and the figures that rest on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.host_instructions import Counts, count_steps
from edgemtl.emulation import find_emulator
from edgemtl.errors import UnsupportedError
from edgemtl.processor import resolve
from tests.runtime import programs


def _obstacle() -> str:
    """Why instructions cannot be counted here, or nothing."""
    try:
        find_emulator("aarch64")
    except UnsupportedError as error:
        return str(error)
    return "" if shutil.which("gcc") else "gcc is not installed"


def test_wider_accesses_take_longer() -> None:
    """One cycle each, two where 16 bytes are moved, four where more are."""
    assert Counts(10, 3, 2).cycles == 10 + 2 * 3 + 4 * 2
    assert Counts(10, 3, 2).minus(Counts(4, 1, 2)) == Counts(6, 2, 0)


@pytest.mark.slow
@pytest.mark.skipif(bool(_obstacle()), reason=_obstacle())
def test_every_step_of_a_small_program(tmp_path: Path) -> None:
    """A product reads one array and writes one, a sum reads two: 32 bytes an instruction, and one that calls.

    The other counts are of loops and of what starts a step, which varies from run to run.
    """
    bundle = programs.write(tmp_path / "a.edgemtl", target=resolve("cpu-a53", 1))
    counted = list(count_steps(bundle, "semseg"))
    assert [kernel for kernel, _ in counted] == ["scale", "add", "scale", "add"]
    arrays = {"scale": 2, "add": 3}
    for kernel, counts in counted:
        moved = arrays[kernel] * 4 * programs.FLOATS // 32
        assert moved <= counts.wider <= moved + 4
        assert counts.other > 0
