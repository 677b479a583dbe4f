"""The processors code is generated for: one table, which the compiler, the runtime, bundles and doctor read."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edgemtl.errors import EdgemtlError, UnsupportedError, UsageError
from edgemtl.hw.spec import is_board
from edgemtl.suggest import one_of

CPU_INFO = Path("/proc/cpuinfo")
FREE_FILES = "close files or sessions, or raise the limit of open files (ulimit -n)"
DEFAULT_THREADS = 2


@dataclass(frozen=True)
class SystemTool:
    """A program and the Debian package that brings it."""

    command: str
    package: str

    @property
    def hint(self) -> str:
        """How to install it."""
        return f"apt-get install {self.package}"


@dataclass(frozen=True)
class Emulation:
    """What runs an architecture's programs on another machine: qemu, and the root of the system it shows them."""

    qemu: SystemTool
    system: Path


@dataclass(frozen=True)
class Architecture:
    """A family of processors, as `platform.machine` calls it. triple: LLVM's name. linker: a C++ compiler for it.

    flags: by vector width in bits, what LLVM may use, in the words of /proc/cpuinfo.
    """

    name: str
    triple: str
    flags: Mapping[int, frozenset[str]]
    linker: SystemTool
    emulation: Emulation | None = None


@dataclass(frozen=True)
class CpuTarget:
    """A processor: LLVM's names for it, its vector width and registers, and the parts a kernel is split into.

    byte_instructions: AVX-512's dot products of bytes (VNNI) and permutations of bytes (VBMI). flags: what it must have
    beyond what its vector width asks for, in the words of /proc/cpuinfo.
    """

    name: str
    triple: str
    mcpu: str
    mattr: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    threads: int = DEFAULT_THREADS
    byte_instructions: bool = False
    flags: tuple[str, ...] = ()

    @property
    def lanes(self) -> int:
        """float32 values in one vector register."""
        return self.vector_bits // 32


_SSE = frozenset({"sse4_2", "popcnt"})
_AVX2 = _SSE | {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"}
_AVX512 = _AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("x86_64", "x86_64-linux-gnu", {128: _SSE, 256: _AVX2, 512: _AVX512}, SystemTool("g++", "g++")),
        Architecture(
            "aarch64",
            "aarch64-linux-gnu",
            {128: frozenset({"asimd"})},
            SystemTool("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
            Emulation(SystemTool("qemu-aarch64", "qemu-user"), Path("/usr/aarch64-linux-gnu")),
        ),
    )
}
TARGETS = {
    target.name: target
    for target in (
        CpuTarget(
            "cpu-avx512-vnni",
            "x86_64-linux-gnu",
            "skylake-avx512",
            ("-prefer-256-bit", "+avx512vnni", "+avx512vbmi"),
            512,
            32,
            byte_instructions=True,
            flags=("avx512_vnni", "avx512vbmi"),
        ),
        # skylake-avx512 is the oldest of its kind; without the flag LLVM splits 512-bit vectors in two there.
        CpuTarget("cpu-avx512", "x86_64-linux-gnu", "skylake-avx512", ("-prefer-256-bit",), 512, 32),
        CpuTarget("cpu-avx2", "x86_64-linux-gnu", "haswell", (), 256, 16),
        CpuTarget("cpu-a53", "aarch64-linux-gnu", "cortex-a53", ("+neon",), 128, 32),
    )
}
"""By name, for each architecture from the fastest to the slowest."""
HOSTS = {"a53": "cpu-a53", "x86": "cpu-avx2"}
"""The target of each host of a board: beside the logic, and on a PC where a simulator stands for the logic."""


class CodeTarget(Protocol):
    """What code is compiled for."""

    @property
    def name(self) -> str: ...
    @property
    def mcpu(self) -> str: ...
    @property
    def triple(self) -> str: ...
    @property
    def vector_bits(self) -> int: ...


@dataclass(frozen=True)
class Processor:
    """A processor: its architecture and features as Linux names them, and what its maker calls it ("" if unknown)."""

    architecture: str
    flags: frozenset[str]
    model: str


def this_processor() -> Processor:
    """The processor of this machine."""
    flags, model = read_cpu_info(CPU_INFO)
    return Processor(platform.machine(), flags, model)


def read_cpu_info(path: Path) -> tuple[frozenset[str], str]:
    """The features and the model name of the first processor in a file such as /proc/cpuinfo; nothing without one.

    Raises EdgemtlError where the file is there and cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return frozenset(), ""
    except OSError as error:
        raise EdgemtlError(f"{path} must be readable, and is not: {error.strerror}; {FREE_FILES}") from None
    fields: dict[str, str] = {}
    for line in lines:
        key, _, text = line.partition(":")
        fields.setdefault(key.strip(), text.strip())
    return frozenset((fields.get("flags") or fields.get("Features", "")).split()), fields.get("model name", "")


def architecture_of(target: CodeTarget) -> str:
    """The name of the architecture a target's code is for."""
    return target.triple.split("-")[0]


def find_obstacle(target: CodeTarget, processor: Processor) -> str:
    """Why a processor cannot run ``target``'s code, "" where it can."""
    name = architecture_of(target)
    if processor.architecture != name:
        return f"its code is for {name}, this machine is {processor.architecture}"
    architecture = ARCHITECTURES.get(name)
    if architecture is None or target.vector_bits not in architecture.flags:
        return f"{name} has no vectors of {target.vector_bits} bits"
    more = TARGETS[target.name].flags if target.name in TARGETS else ()
    missing = sorted(architecture.flags[target.vector_bits].union(more) - processor.flags)
    return f"this machine's CPU has no {', '.join(missing)}" if missing else ""


def resolve(name: str, threads: int = DEFAULT_THREADS) -> CpuTarget:
    """The target called ``name``; "cpu" is this machine's.

    Raises UsageError for an unknown name, UnsupportedError for an old CPU and for a board.
    """
    if is_board(name):
        reason = "it is a board, which `edgemtl compile` and `edgemtl check` alone take"
        raise UnsupportedError(f"target {name}", reason, f"name one of cpu, {', '.join(TARGETS)}")
    if name == "cpu":
        name = _native()
    if name not in TARGETS:
        raise UsageError(one_of("--target", ("cpu", *TARGETS), name))
    return replace(TARGETS[name], threads=threads)


def _native() -> str:
    """The first target whose code this machine runs."""
    processor = this_processor()
    obstacles = {target.name: find_obstacle(target, processor) for target in TARGETS.values()}
    names = [name for name, obstacle in obstacles.items() if not obstacle]
    if names:
        return names[0]
    own = [name for name in TARGETS if architecture_of(TARGETS[name]) == processor.architecture]
    reason = f"{own[-1]}: {obstacles[own[-1]]}" if own else f"there is none for {processor.architecture}"
    raise UnsupportedError(
        "this machine's CPU", f"it runs the code of no target ({reason})", "name a target of another machine"
    )
