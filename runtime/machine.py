"""Whether this machine can run what a program was compiled for, asked before any of its code runs."""

from __future__ import annotations

import platform
from collections.abc import Set
from pathlib import Path

from edgemtl.bundle import Target
from edgemtl.errors import EdgemtlError, UnsupportedError

CPU_INFO = Path("/proc/cpuinfo")
FREE_FILES = "close files or sessions, or raise the limit of open files (ulimit -n)"
_SSE = frozenset({"sse4_2", "popcnt"})
_AVX2 = _SSE | {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"}
_AVX512 = _AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
# What LLVM may use, in the words of /proc/cpuinfo, by architecture and vector width.
REQUIRED: dict[tuple[str, int], frozenset[str]] = {
    ("x86_64", 128): _SSE,
    ("x86_64", 256): _AVX2,
    ("x86_64", 512): _AVX512,
    ("aarch64", 128): frozenset({"asimd"}),
}
# What single targets may use beyond that.
EXTRA: dict[str, frozenset[str]] = {"cpu-avx512-vnni": frozenset({"avx512_vnni", "avx512vbmi"})}


def check_target(target: Target, machine: str, flags: Set[str]) -> None:
    """Raise UnsupportedError unless a machine of this kind with these CPU flags can run ``target``'s code."""
    name = f"target {target.name} ({target.mcpu})"
    architecture = target.triple.split("-")[0]
    if machine != architecture:
        reason = f"the bundle is for {architecture}, this machine is {machine}"
        raise UnsupportedError(name, reason, "compile it with --target cpu on this machine")
    required = REQUIRED.get((architecture, target.vector_bits))
    if required is None:
        reason = f"{architecture} has no vectors of {target.vector_bits} bits"
        raise UnsupportedError(name, reason, "compile the bundle again")
    if missing := sorted((required | EXTRA.get(target.name, frozenset())) - flags):
        reason = f"this machine's CPU has no {', '.join(missing)}"
        raise UnsupportedError(name, reason, "compile it with --target cpu on this machine")


def check_this_machine(target: Target) -> None:
    """``check_target`` for the machine this runs on."""
    check_target(target, platform.machine(), cpu_flags(CPU_INFO))


def cpu_flags(path: Path) -> frozenset[str]:
    """The CPU's features as Linux names them; none where Linux does not say.

    Raises EdgemtlError where the file is there and cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise EdgemtlError(f"{path} must be readable, and is not: {error.strerror}; {FREE_FILES}") from None
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(listed, "").split())


def peak_resident_bytes() -> int:
    """The most memory this process has had resident since it was started.

    From /proc, since getrusage also counts what the process that started this one held at the fork.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise UnsupportedError("/proc/self/status", "it does not say VmHWM", "run on Linux with /proc mounted")
