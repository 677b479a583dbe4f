"""What lets a run take a narrower processor for its own, here and in the processes it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgemtl import processor
from edgemtl.processor import TARGETS, resolve, this_processor
from tests.support import processors

NAMED = {"avx2": "cpu-avx2", "avx512": "cpu-avx512", "avx512-vnni": "cpu-avx512-vnni"}


@pytest.fixture
def widest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that runs every target for x86-64; what a test changes is put back."""
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "CPU_INFO", processors.FOLDER / "avx512-vnni.cpuinfo")
    monkeypatch.setenv(processors.VARIABLE, "")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))


def test_every_file_has_a_target() -> None:
    assert set(processors.NAMES) == NAMED.keys()


@pytest.mark.usefixtures("widest")
@pytest.mark.parametrize("name", NAMED)
def test_a_named_processor_is_taken_here_and_by_processes(name: str, tmp_path: Path) -> None:
    processors.stand_for(name)
    assert resolve("cpu").name == NAMED[name]
    code = "from edgemtl.processor import this_processor; print(this_processor().model)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == this_processor().model
    processors.stand_for(name)
    assert os.environ["PYTHONPATH"].split(os.pathsep).count(str(processors.FOLDER / "site")) == 1


@pytest.mark.usefixtures("widest")
def test_a_processor_this_machine_cannot_stand_for_is_refused() -> None:
    processor.CPU_INFO = processors.FOLDER / "avx2.cpuinfo"
    with pytest.raises(pytest.UsageError, match=r"not avx512: it cannot run cpu-avx512$"):
        processors.stand_for("avx512")


@pytest.mark.usefixtures("widest")
def test_targets_of_a_wider_processor_are_skipped_counted_and_not_run() -> None:
    processors.stand_for("avx2")
    parameters = processors.on_each([TARGETS["cpu-avx512"], TARGETS["cpu-avx2"]]).args[1]
    reasons = [mark.kwargs.get("reason", *mark.args) for parameter in parameters for mark in parameter.marks]
    first, vnni, avx512 = processors.summary([*reasons, *reasons, "chromium is not installed"])
    assert first.endswith(": 2 of 3 targets skipped")
    assert vnni.startswith("  cpu-avx512-vnni: this machine's CPU has no avx512_vnni, ")
    assert vnni.endswith("; 0 tests skipped")
    assert avx512.endswith("; 2 tests skipped")
    assert processors.runnable(TARGETS.values()) == [TARGETS["cpu-avx2"]]
    with pytest.raises(AssertionError, match="a test must not run code for cpu-avx512 here: this machine's CPU has no"):
        processors.demand(TARGETS["cpu-avx512"])
