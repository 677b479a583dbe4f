"""Names of targets, and what this machine is."""

from pathlib import Path

import pytest

from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.tvm_bridge import target
from edgemtl.tvm_bridge.target import TARGETS, resolve


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_by_name(name: str) -> None:
    found = resolve(name, 3)
    assert (found.name, found.threads) == (name, 3)
    assert found.lanes * 32 == found.vector_bits


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fma avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni avx512vbmi", "cpu-avx512-vnni"),
        ("fma avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni", "cpu-avx512"),
        ("avx2 fma avx512f", "cpu-avx2"),
    ],
)
def test_this_machine(flags: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(target, "CPU_INFO", tmp_path / "cpuinfo")
    assert resolve("cpu").name == name


@pytest.mark.parametrize("text", ["flags : fpu sse2\n", "no such line\n", None])
def test_a_machine_too_old(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(target, "CPU_INFO", tmp_path / "cpuinfo")
    with pytest.raises(UnsupportedError, match="neither AVX-512 nor AVX2 with FMA; name a target of another machine"):
        resolve("cpu")


def test_an_unknown_name() -> None:
    with pytest.raises(
        UsageError, match="--target must be one of cpu, cpu-avx512-vnni, cpu-avx512, cpu-avx2, cpu-a53, not 'gpu'"
    ):
        resolve("gpu")


def test_a_board_is_no_processor() -> None:
    with pytest.raises(UnsupportedError, match="target zcu104: it is a board, which `edgemtl compile` and"):
        resolve("zcu104")
