"""Integer kernels on arrays: several compiled at once, on every target this machine runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgemtl.codegen.cpu.families import FAMILIES, build_kernel
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.build import compile_entries
from tests.support.processors import demand, runnable
from tests.tvm_bridge.harness import INTEGER_TARGETS, Arena, call

Arrays = Mapping[str, np.ndarray]


def host_targets(threads: int = 2) -> list[CpuTarget]:
    """The integer targets, and the plain code that a Cortex-A53 is given, compiled for x86-64."""
    plain = replace(resolve("cpu-a53", threads), name="plain", triple="x86_64-linux-gnu", mcpu="x86-64-v2", mattr=())
    return [*(resolve(name, threads) for name in INTEGER_TARGETS), plain]


def widest(threads: int = 2) -> CpuTarget:
    """The first of them that this machine runs."""
    return runnable(host_targets(threads))[0]


def ends(threads: int = 2) -> list[CpuTarget]:
    """The two of them that differ most: byte instructions and plain code."""
    first, *_, last = host_targets(threads)
    return [first, last]


def run_all(target: CpuTarget, work: Sequence[tuple[Any, Arrays]], *constants: np.ndarray) -> list[dict[str, Any]]:
    """The outputs of the kernels of (spec, inputs); tables are packed here, and so are ``constants``."""
    demand(target)
    arenas = []
    for spec, arrays in work:
        kernel, module = build_kernel(spec, target), FAMILIES[type(spec)]
        weights = [o.name for o in kernel.operands if o.role == "weight"]
        packed = module.pack(spec, target, *constants) if weights else ()
        arenas.append(Arena(kernel, {**arrays, **dict(zip(weights, packed, strict=True))}))
    entries = [replace(arena.entry(), name=f"main{index}") for index, arena in enumerate(arenas)]
    program = compile_entries(entries, target)
    for entry, arena in zip(entries, arenas, strict=True):
        call(program[entry.name], arena)
    return [arena.outputs() for arena in arenas]


def integers(dtype: str, *shape: int, low: int | None = None, high: int | None = None) -> np.ndarray:
    """Uniform integers of the whole range of ``dtype``, or from ``low`` to ``high``."""
    range_ = np.iinfo(dtype)
    first, last = range_.min if low is None else low, range_.max if high is None else high
    return np.random.default_rng([*shape, last - first]).integers(first, last + 1, shape).astype(dtype)


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Assert that two arrays have the same type and bits."""
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected.reshape(actual.shape), strict=True)
