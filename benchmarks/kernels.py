"""Speed of the kernels, hot, against the multiply-adds this machine can do: ``python -m benchmarks.kernels``.

Kernels take turns and the fastest run of each counts, so that other work on the machine disturbs little. One thread.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tvm  # noqa: F401  # its runtime library must be loaded before a program is
import tvm_ffi

from benchmarks.here import target_to_measure
from benchmarks.timing import milliseconds
from edgemtl.codegen.cpu.families import build_kernel
from edgemtl.operators import (
    Attention,
    Combine,
    Experts,
    LayerNorm,
    Linear,
    Operator,
    PatchEmbed,
    Router,
)
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.build import WEIGHTS_WORDS, Argument, EntryFunction, KernelCall, build_library
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import experts
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    define,
    guarded,
    panel_width,
    parallel,
    register_tile,
    tile_rows,
    vector_store,
)

ALIGNMENT = 64
RUNS_PER_TURN = 10
# Where operands lie that are no operands of one step: the section of all weights.
SECTION = {"weights_space": "weights", "weights_words": WEIGHTS_WORDS}
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A kernel, its multiply-accumulates, and the operands that must hold more than zeros."""

    kernel: Kernel
    macs: int
    arrays: Arrays


def case_of(operator: Operator, target: CpuTarget, arrays: Arrays = MappingProxyType({})) -> Case:
    """An operator's kernel."""
    return Case(build_kernel(operator, target), operator.macs, arrays)


def peak(target: CpuTarget) -> Case:
    """Multiply-adds on registers alone: what the machine can do at most."""
    width, depth = panel_width(target), 1 << 16
    rows = tile_rows(width, target)
    operands = [
        Operand("x", (width,), "float32", "input"),
        Operand("y", (target.threads, rows, width), "float32", "output"),
    ]

    def body(x: Buffer, y: Buffer) -> None:
        with parallel(target.threads) as part, guarded(part < target.threads):
            sums = register_tile(
                rows,
                width,
                depth,
                lambda row, k: x[row],
                lambda k: lambda lane: x[lane],
                lambda row: lambda lane: x[lane],
            )
            for row, total in enumerate(sums):
                vector_store(y, width, lambda lane, t=total: t[lane], lambda lane, row=row: (part, row, lane))  # type: ignore[misc]

    return Case(define("peak", operands, body), target.threads * rows * width * depth, {})


def cases(target: CpuTarget) -> list[Case]:
    """The layers of M3ViT tiny at 128x256, and small at 512x512's attention and linear layer."""
    tokens, dim, count, k = 129, 192, 16, 2
    slots = tokens * k
    routes = {
        "tokens": np.arange(slots, dtype=np.int32) // k,
        "offsets": np.linspace(0, slots, count + 1).astype(np.int32),
        "slots": np.arange(slots, dtype=np.int32).reshape(tokens, k),
    }
    first = Experts(tokens, k, count, dim, 2 * dim, True, "gelu")
    second = Experts(tokens, k, count, 2 * dim, dim, False, "")
    sized = [(spec, experts.pack_expert(spec, target, *_zeros(spec)).size) for spec in (first, second)]
    expert_cases = [
        case_of(
            spec,
            target,
            routes
            | {
                "table": np.arange(count, dtype=np.int32) * size,
                "weights": np.zeros(count * size, np.float32),
            },
        )
        for spec, size in sized
    ]
    layers: list[Operator] = [
        Linear(tokens, dim, 3 * dim, "", False),
        Linear(tokens, dim, dim, "", True),
        Linear(tokens, dim, 4 * dim, "gelu", False),
        Linear(tokens, 4 * dim, dim, "", True),
        Linear(1025, 384, 1152, "", False),
        Linear(192, 96, 288, "", False),
        Linear(192, 96, 8, "", False),
        Attention(tokens, 3, 64, 0.125),
        Attention(192, 3, 32, 0.18),
        Attention(1025, 12, 32, 0.18),
        PatchEmbed(3, 128, 256, 16, dim, 1),
        LayerNorm(tokens, dim, 1e-6),
        Router(tokens, count, k, tuple(range(count)), False, 0.0),
        Combine(tokens, k, dim, True),
    ]
    return [*expert_cases, *(case_of(operator, target, routes) for operator in layers)]


def _zeros(spec: Experts) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((spec.k, spec.n), np.float32), np.zeros(spec.n, np.float32)


def load(case: Case, target: CpuTarget, folder: Path) -> Callable[[], object]:
    """The kernel of a case as a function without arguments; all operands but a section of weights lie in one arena."""
    inside = [operand for operand in case.kernel.operands if operand.role not in SECTION]
    ends = np.cumsum([0, *(-(-operand.bytes // ALIGNMENT) * ALIGNMENT for operand in inside)]).tolist()
    places = dict(zip((operand.name for operand in inside), ends, strict=False))
    arena, weights = _aligned(ends[-1]), _aligned(case.arrays["weights"].nbytes if "weights" in case.arrays else 1)
    for operand in inside:
        _fill(operand, case.arrays.get(operand.name), arena[places[operand.name] :])
    if "weights" in case.arrays:
        weights[:] = case.arrays["weights"].reshape(-1).view(np.uint8)
    arguments = (
        Argument(SECTION[operand.role], 0) if operand.role in SECTION else Argument("arena", places[operand.name])
        for operand in case.kernel.operands
    )
    call = KernelCall(case.kernel, tuple(arguments))
    path = folder / f"{case.kernel.symbol}.so"
    sizes = {"arena": arena.nbytes, "weights": weights.nbytes}
    path.write_bytes(build_library([EntryFunction("main", (call,), sizes)], target))
    function = tvm_ffi.load_module(str(path))["main"]
    empty, spaces = tvm_ffi.from_dlpack(np.zeros(1, np.uint8)), [tvm_ffi.from_dlpack(a) for a in (arena, weights)]
    return lambda: function(*spaces, empty, empty, empty, 0, 1)


def _aligned(size: int) -> np.ndarray:
    """``size`` zero bytes that start on a 64-byte boundary."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def _fill(operand: Operand, array: np.ndarray | None, memory: np.ndarray) -> None:
    if array is None and operand.dtype == "float32" and operand.role in ("input", "weight"):
        array = np.random.default_rng(0).standard_normal(math.prod(operand.shape)).astype(np.float32)
    if array is not None:
        memory[: array.nbytes] = array.reshape(-1).view(np.uint8)


def fastest(
    functions: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], int] = time.perf_counter_ns
) -> list[float]:
    """The least seconds of each function by ``clock``; they take turns of several runs, so that caches are warm."""
    return [1e-3 * min(times) for times in milliseconds(functions, rounds, RUNS_PER_TURN, clock=clock)]


def main() -> None:
    """Print one line per kernel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    target = target_to_measure(options.target, threads=1)
    measured = [peak(target), *cases(target)]
    with tempfile.TemporaryDirectory() as folder:
        functions = [load(case, target, Path(folder)) for case in measured]
        seconds = fastest(functions, options.rounds)
    most = measured[0].macs / seconds[0]
    for case, time_taken in zip(measured, seconds, strict=True):
        rate = case.macs / time_taken
        print(f"{case.kernel.symbol:40} {time_taken * 1e6:10.1f} us {2e-9 * rate:8.1f} GFLOP/s {rate / most:6.1%}")


if __name__ == "__main__":
    main()
