"""The processors code is generated for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.hw.spec import is_board
from edgemtl.processor import architecture_of, find_obstacle, this_processor
from edgemtl.suggest import one_of

if TYPE_CHECKING:
    import tvm

DEFAULT_THREADS = 2


@dataclass(frozen=True)
class CpuTarget:
    """A processor: LLVM's names for it, its vector width and registers, and the parts a kernel is split into.

    ``byte_instructions``: AVX-512's dot products of bytes (VNNI) and permutations of bytes (VBMI).
    """

    name: str
    triple: str
    mcpu: str
    mattr: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    threads: int = DEFAULT_THREADS
    byte_instructions: bool = False

    @property
    def lanes(self) -> int:
        """float32 values in one vector register."""
        return self.vector_bits // 32


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
        ),
        # skylake-avx512 is the oldest of its kind; without the flag LLVM splits 512-bit vectors in two there.
        CpuTarget("cpu-avx512", "x86_64-linux-gnu", "skylake-avx512", ("-prefer-256-bit",), 512, 32),
        CpuTarget("cpu-avx2", "x86_64-linux-gnu", "haswell", (), 256, 16),
        CpuTarget("cpu-a53", "aarch64-linux-gnu", "cortex-a53", ("+neon",), 128, 32),
    )
}


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
    """The first target whose code this machine runs; they stand from the fastest to the slowest."""
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


def tvm_target(target: CpuTarget) -> tvm.target.Target:
    """The same target in TVM's words."""
    import tvm

    words = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.mcpu, "mattr": list(target.mattr)}
    return tvm.target.Target(words)
