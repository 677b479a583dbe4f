"""What the processors this machine may have are said to run, and what reads it off /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemtl.bundle import Target
from edgemtl.emulation import fetching_script
from edgemtl.errors import EdgemtlError
from edgemtl.processor import ARCHITECTURES, HOSTS, TARGETS, CpuTarget, Processor, find_obstacle, read_cpu_info

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


def test_the_table_is_complete() -> None:
    """Whatever a row is used for, it has: what a bundle may name, the compiler links and the runtime checks."""
    assert {target.triple for target in TARGETS.values()} == {known.triple for known in ARCHITECTURES.values()}
    assert {*HOSTS.values()} <= {*TARGETS}
    for name, architecture in ARCHITECTURES.items():
        assert name == architecture.name == architecture.triple.split("-")[0]
        assert all(architecture.flags.values())
        assert architecture.linker.command in {"g++", f"{architecture.triple}-g++"}
        assert architecture.linker.hint.startswith("apt-get install g++")
        if architecture.emulation is not None:
            assert architecture.emulation.qemu.command == f"qemu-{name}"
            assert fetching_script(name).is_file()


def flags_of(known: CpuTarget) -> frozenset[str]:
    return ARCHITECTURES[known.triple.split("-")[0]].flags[known.vector_bits].union(known.flags)


@pytest.mark.parametrize("known", TARGETS.values(), ids=[*TARGETS])
def test_every_target_is_refused_without_any_one_of_its_flags(known: CpuTarget) -> None:
    architecture, flags = known.triple.split("-")[0], flags_of(known)
    assert find_obstacle(known, Processor(architecture, flags, "")) == ""
    for flag in flags:
        narrower = Processor(architecture, flags - {flag}, "")
        assert find_obstacle(known, narrower) == f"this machine's CPU has no {flag}"


@pytest.mark.parametrize("known", TARGETS.values(), ids=[*TARGETS])
def test_every_feature_asked_of_llvm_is_a_flag(known: CpuTarget) -> None:
    in_linux = {"avx512vnni": "avx512_vnni", "neon": "asimd"}
    asked = [feature[1:] for feature in known.mattr if feature.startswith("+")]
    assert {in_linux.get(feature, feature) for feature in asked} <= flags_of(known)
    assert known.byte_instructions == ("avx512_vnni" in flags_of(known))


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
