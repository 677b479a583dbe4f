"""What a processor must have to run a target's code; the choice of a target and the runtime both ask here."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgemtl.errors import EdgemtlError

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


class Target(Protocol):
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


def architecture_of(target: Target) -> str:
    """The architecture a target's code is for."""
    return target.triple.split("-")[0]


def find_obstacle(target: Target, processor: Processor) -> str:
    """Why a processor cannot run ``target``'s code, "" where it can."""
    architecture = architecture_of(target)
    if processor.architecture != architecture:
        return f"its code is for {architecture}, this machine is {processor.architecture}"
    required = REQUIRED.get((architecture, target.vector_bits))
    if required is None:
        return f"{architecture} has no vectors of {target.vector_bits} bits"
    missing = sorted((required | EXTRA.get(target.name, frozenset())) - processor.flags)
    return f"this machine's CPU has no {', '.join(missing)}" if missing else ""
