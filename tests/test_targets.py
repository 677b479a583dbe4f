"""Names of targets, and what this machine is."""

import re
from pathlib import Path

import pytest

from edgemtl import processor
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.processor import TARGETS, resolve


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_by_name(name: str) -> None:
    found = resolve(name, 3)
    assert (found.name, found.threads) == (name, 3)
    assert found.lanes * 32 == found.vector_bits


AVX2 = "sse4_2 popcnt avx2 fma bmi1 bmi2 f16c movbe abm"
AVX512 = f"{AVX2} avx512f avx512cd avx512dq avx512bw avx512vl"


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for /proc/cpuinfo."""
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("machine", "flags", "name"),
    [
        ("x86_64", f"{AVX512} avx512_vnni avx512vbmi", "cpu-avx512-vnni"),
        ("x86_64", f"{AVX512} avx512_vnni", "cpu-avx512"),
        ("x86_64", f"{AVX2} avx512f", "cpu-avx2"),
        ("aarch64", "fp asimd", "cpu-a53"),
    ],
)
def test_this_machine(machine: str, flags: str, name: str, cpu_info: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    cpu_info.write_text(f"processor : 0\nflags\t\t: fpu {flags}\n")
    assert resolve("cpu").name == name


@pytest.mark.parametrize(
    ("machine", "text", "reason"),
    [
        ("x86_64", f"flags : {AVX2.replace('movbe', '')}", "cpu-avx2: this machine's CPU has no movbe"),
        ("x86_64", "no such line", f"cpu-avx2: this machine's CPU has no {', '.join(sorted(AVX2.split()))}"),
        ("riscv64", "", "there is none for riscv64"),
    ],
)
def test_a_machine_no_target_is_for(
    machine: str, text: str, reason: str, cpu_info: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    cpu_info.write_text(text)
    expected = f"this machine's CPU: it runs the code of no target ({reason}); name a target of another machine"
    with pytest.raises(UnsupportedError, match=f"^{re.escape(expected)}$"):
        resolve("cpu")


def test_an_unknown_name() -> None:
    with pytest.raises(
        UsageError, match="--target must be one of cpu, cpu-avx512-vnni, cpu-avx512, cpu-avx2, cpu-a53, not 'gpu'"
    ):
        resolve("gpu")


def test_a_board_is_no_processor() -> None:
    with pytest.raises(UnsupportedError, match="target zcu104: it is a board, which `edgemtl compile` and"):
        resolve("zcu104")
