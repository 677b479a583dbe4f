"""A program is refused by machines that cannot run it, before any of its code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemtl.bundle import Target
from edgemtl.errors import EdgemtlError, UnsupportedError
from edgemtl.runtime.machine import REQUIRED, check_target, cpu_flags
from edgemtl.tvm_bridge.target import TARGETS

HASWELL = frozenset({"sse4_2", "popcnt", "avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"})


def target(triple: str = "x86_64-linux-gnu", bits: int = 512) -> Target:
    return Target("cpu-avx512", triple, "skylake-avx512", bits, 2)


@pytest.mark.parametrize("bits", [128, 256])
def test_accepted(bits: int) -> None:
    check_target(target(bits=bits), "x86_64", HASWELL)


def test_no_avx512() -> None:
    message = (
        r"target cpu-avx512 \(skylake-avx512\): this machine's CPU has no avx512bw, avx512cd, avx512dq, "
        r"avx512f, avx512vl; compile it with --target cpu on this machine"
    )
    with pytest.raises(UnsupportedError, match=message):
        check_target(target(), "x86_64", HASWELL)


def test_nothing_known_about_the_cpu() -> None:
    with pytest.raises(UnsupportedError, match="this machine's CPU has no popcnt, sse4_2"):
        check_target(target(bits=128), "x86_64", frozenset())


def test_another_architecture() -> None:
    with pytest.raises(UnsupportedError, match="the bundle is for aarch64, this machine is x86_64"):
        check_target(target("aarch64-linux-gnu", 128), "x86_64", HASWELL)
    with pytest.raises(UnsupportedError, match="the bundle is for x86_64, this machine is aarch64"):
        check_target(target(), "aarch64", frozenset({"asimd"}))
    check_target(target("aarch64-linux-gnu", 128), "aarch64", frozenset({"asimd"}))


def test_vectors_that_do_not_exist() -> None:
    with pytest.raises(UnsupportedError, match="aarch64 has no vectors of 512 bits; compile the bundle again"):
        check_target(target("aarch64-linux-gnu", 512), "aarch64", frozenset({"asimd"}))


def test_every_compiler_target_is_known() -> None:
    for known in TARGETS.values():
        assert (known.triple.split("-")[0], known.vector_bits) in REQUIRED


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"])
def test_cpu_flags(tmp_path: Path, key: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name : x\n{key}: fpu avx2 asimd\nother : y\n{key}: fpu\n")
    assert cpu_flags(path) == {"fpu", "avx2", "asimd"}
    assert cpu_flags(tmp_path / "none") == frozenset()
    with pytest.raises(EdgemtlError, match=rf"{tmp_path} must be readable, and is not: Is a directory; close files or"):
        cpu_flags(tmp_path)
