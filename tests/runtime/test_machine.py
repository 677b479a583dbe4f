"""A program is refused by machines that cannot run it, before any of its code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemtl import processor
from edgemtl.bundle import Target
from edgemtl.errors import UnsupportedError
from edgemtl.runtime.machine import check_this_machine


def test_what_this_machine_lacks_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    processor.CPU_INFO.write_text("flags : sse4_2 avx2 fma bmi1 bmi2 f16c movbe abm\n")
    message = (
        r"^target cpu-avx2 \(haswell\): this machine's CPU has no popcnt; compile it with --target cpu on this machine$"
    )
    with pytest.raises(UnsupportedError, match=message):
        check_this_machine(Target("cpu-avx2", "x86_64-linux-gnu", "haswell", 256, 2))
    processor.CPU_INFO.write_text("flags : sse4_2 avx2 fma bmi1 bmi2 f16c movbe abm popcnt\n")
    check_this_machine(Target("cpu-avx2", "x86_64-linux-gnu", "haswell", 256, 2))
