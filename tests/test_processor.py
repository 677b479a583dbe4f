"""What the processors this machine may have are said to run, and what reads it off /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemtl.bundle import Target
from edgemtl.errors import EdgemtlError
from edgemtl.processor import REQUIRED, Processor, find_obstacle, read_cpu_info
from edgemtl.tvm_bridge.target import TARGETS

AVX2 = frozenset({"sse4_2", "popcnt", "avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"})
HASWELL, NEON = Processor("x86_64", AVX2, "Haswell"), Processor("aarch64", frozenset({"asimd"}), "Cortex-A53")


def target(triple: str = "x86_64-linux-gnu", bits: int = 512) -> Target:
    return Target("cpu-avx512", triple, "skylake-avx512", bits, 2)


@pytest.mark.parametrize("bits", [128, 256])
def test_narrower_code_runs(bits: int) -> None:
    assert find_obstacle(target(bits=bits), HASWELL) == ""


def test_what_is_missing_is_named() -> None:
    missing = "avx512bw, avx512cd, avx512dq, avx512f, avx512vl"
    assert find_obstacle(target(), HASWELL) == f"this machine's CPU has no {missing}"
    unknown = Processor("x86_64", frozenset(), "")
    assert find_obstacle(target(bits=128), unknown) == "this machine's CPU has no popcnt, sse4_2"


def test_another_architecture() -> None:
    arm = target("aarch64-linux-gnu", 128)
    assert find_obstacle(arm, HASWELL) == "its code is for aarch64, this machine is x86_64"
    assert find_obstacle(target(), NEON) == "its code is for x86_64, this machine is aarch64"
    assert find_obstacle(arm, NEON) == ""


def test_vectors_that_do_not_exist() -> None:
    assert find_obstacle(target("aarch64-linux-gnu", 512), NEON) == "aarch64 has no vectors of 512 bits"


def test_every_compiler_target_is_known() -> None:
    for known in TARGETS.values():
        assert (known.triple.split("-")[0], known.vector_bits) in REQUIRED


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"])
def test_cpu_info(tmp_path: Path, key: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name : x : y\n{key}: fpu avx2 asimd\nother : y\nmodel name : z\n{key}: fpu\n")
    assert read_cpu_info(path) == ({"fpu", "avx2", "asimd"}, "x : y")
    assert read_cpu_info(tmp_path / "none") == (frozenset(), "")


def test_a_cpu_info_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        EdgemtlError, match=rf"^{tmp_path} must be readable, and is not: Is a directory; close files or"
    ):
        read_cpu_info(tmp_path)
