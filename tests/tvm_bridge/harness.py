"""Runs single kernels on numpy arrays, in memory, and watches what they write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tvm_ffi

from edgemtl.processor import CpuTarget, resolve
from edgemtl.runtime.threads import configure_pool
from edgemtl.tvm_bridge.build import WEIGHTS_WORDS, Argument, EntryFunction, KernelCall, compile_entries
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from tests.support.processors import demand, on_each, runnable

ALIGNMENT = 64
POISON = 0xFF  # every float32 made of it is not a number
HOST_TARGETS = ("cpu-avx512", "cpu-avx2")
INTEGER_TARGETS = ("cpu-avx512-vnni", *HOST_TARGETS)
ALL_TARGETS = (*HOST_TARGETS, "cpu-a53")


def targets(threads: int = 2, names: tuple[str, ...] = HOST_TARGETS) -> list[CpuTarget]:
    """The targets this machine can run, the widest first."""
    return runnable(resolve(name, threads) for name in names)


def on_targets(threads: int = 2, names: tuple[str, ...] = HOST_TARGETS) -> pytest.MarkDecorator:
    """Run a test on each target; those this machine cannot run are skipped."""
    return on_each(resolve(name, threads) for name in names)


def aligned(size: int, fill: int = POISON) -> np.ndarray:
    """Bytes at an aligned address."""
    raw = np.full(size + ALIGNMENT, fill, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


class Arena:
    """A kernel's operands side by side, each with poisoned bytes behind it that must stay so."""

    def __init__(self, kernel: Kernel, arrays: Mapping[str, np.ndarray]) -> None:
        self.kernel = kernel
        sizes = [max(o.bytes, arrays[o.name].nbytes if o.name in arrays else 0) for o in kernel.operands]
        spaced = [-(-size // ALIGNMENT) * ALIGNMENT + ALIGNMENT for size in sizes]
        self.places = np.cumsum([0, *spaced]).tolist()[:-1]
        self.memory = aligned(sum(spaced))
        self.ends = [place + size for place, size in zip(self.places, sizes, strict=True)]
        for operand, place in zip(kernel.operands, self.places, strict=True):
            if operand.name in arrays:
                array = np.asarray(arrays[operand.name], order="C")
                assert operand.role == "weights_space" or (array.shape, array.dtype) == (
                    operand.shape,
                    operand.dtype,
                )
                self.memory[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)

    def entry(self) -> EntryFunction:
        """An entry "main" that calls the kernel on this arena."""
        arguments = (self._argument(o, place) for o, place in zip(self.kernel.operands, self.places, strict=True))
        return EntryFunction(
            "main", (KernelCall(self.kernel, tuple(arguments)),), {"arena": self.memory.nbytes, "weights": self.space}
        )

    @staticmethod
    def _argument(operand: Operand, place: int) -> Argument:
        return Argument(WEIGHTS_WORDS, 0) if operand.role == WEIGHTS_WORDS else Argument("arena", place)

    @property
    def space(self) -> int:
        """Bytes of the section of weights that kernels look into by a table; 1 where they do not."""
        spaces = (i for i, operand in enumerate(self.kernel.operands) if operand.role == "weights_space")
        return next((self.ends[i] - self.places[i] for i in spaces), 1)

    def outputs(self) -> dict[str, np.ndarray]:
        """What the kernel wrote; nothing may be written between operands."""
        for end, after in zip(self.ends, [*self.places[1:], self.memory.nbytes], strict=True):
            assert (self.memory[end:after] == POISON).all()
        return {
            o.name: self.memory[place : place + o.bytes].view(o.dtype).reshape(o.shape).copy()
            for o, place in zip(self.kernel.operands, self.places, strict=True)
            if o.role == "output"
        }


def run(kernel: Kernel, target: CpuTarget, /, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of a kernel by name."""
    demand(target)
    arena = Arena(kernel, arrays)
    call(compile_entries([arena.entry()], target)["main"], arena)
    return arena.outputs()


def call(function: Callable[..., Any], arena: Arena) -> None:
    """Call a compiled entry "main"."""
    empty, weights = (tvm_ffi.from_dlpack(aligned(size)) for size in (1, arena.space))
    function(tvm_ffi.from_dlpack(arena.memory), weights, empty, empty, empty, 0, 1)


def with_threads(count: int, work: Callable[[], object]) -> object:
    """The result of ``work`` in a new thread whose pool has ``count`` threads."""
    results: list[object] = []

    def body() -> None:
        assert configure_pool(count) == count
        results.append(work())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return results[0]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float32 values."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 2e-5) -> None:
    """Assert that float32 results are those of float64 arithmetic, relative to the largest of them."""
    assert actual.dtype == np.float32
    assert np.isfinite(actual).all()
    assert np.abs(actual - expected).max(initial=0) <= tolerance * max(1.0, np.abs(expected).max(initial=0))
