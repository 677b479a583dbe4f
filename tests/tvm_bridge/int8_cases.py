"""Layers of random or extreme integers, and many kernels compiled at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgemtl.hw.arith import encode_scale, pack_fine_scale, pack_scale
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.build import compile_entries
from edgemtl.tvm_bridge.kernel import Kernel
from tests.support.processors import demand
from tests.tvm_bridge.harness import INTEGER_TARGETS, Arena, call

# What plain code becomes: no instruction of its own, as on a Cortex-A53, but it runs here.
PLAIN = CpuTarget("plain", "x86_64-linux-gnu", "x86-64-v2", (), 128, 16)
TARGETS = [*(resolve(name, 3) for name in INTEGER_TARGETS), resolve(INTEGER_TARGETS[0], 1), PLAIN]
LIMIT = 2**31
SCALES = [(1, 12), (1, 43), (2**17 - 1, 12), (2**17 - 1, 43), (0, 12), (3, 17), (2**16, 31), encode_scale(1e-9)]
# Sums, multipliers and shifts that miss the next larger result by the smallest step there is.
JUST_BELOW = [
    (32767, 65537, 16), (589823, 65537, 20), (134283263, 65537, 28), (1073807359, 65537, 31), (65535, 65537, 33),
    (260455883, 65565, 36), (964682129, 65679, 38), (355689803, 66461, 40), (365457339, 66189, 42),
    (-1741190585, 65673, 44), (223975887, 78545, 45), (-508599027, 69179, 46),
]  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """Constants of a layer with rows of ``weight`` [k, n] on its inputs."""

    weight: np.ndarray
    bias: np.ndarray
    mul: np.ndarray
    shift: np.ndarray
    table: np.ndarray

    @property
    def words(self) -> np.ndarray:
        """Scale words; of 20 bits where a multiplier needs them."""
        return (pack_scale if self.mul.max() < 2**17 else pack_fine_scale)(self.mul, self.shift)

    def constants(self, table: bool = False) -> tuple[np.ndarray, ...]:
        """As a step holds them."""
        return self.weight, self.bias, self.words, *([self.table] if table else [])


def random_bytes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(-128, 128, shape).astype(np.int8)


def random_shorts(*shape: int) -> np.ndarray:
    """Mostly the ends of the range, so that sums saturate."""
    random = np.random.default_rng(list(shape))
    values = random.integers(-(2**15), 2**15, shape)
    return np.where(random.random(shape) < 0.3, np.sign(values) * 32767, values).astype(np.int16)


def random_wide(*shape: int) -> np.ndarray:
    """Activations of 12 bits."""
    return np.random.default_rng(list(shape)).integers(-2048, 2048, shape).astype(np.int16)


def layer(k: int, n: int, seed: int = 0) -> Layer:
    """Sums that fill the range of bytes, some beyond."""
    random = np.random.default_rng([seed, k, n])
    scales = [encode_scale(s) for s in np.exp(random.uniform(-9, -2, n)) / k**0.5]
    bias = random.integers(-10000, 10000, n).astype(np.int32)
    table = random.integers(-128, 128, 256).astype(np.int8)
    return Layer(random_bytes(k, n, seed=seed), bias, *np.array(scales).T, table)


def extreme(x: np.ndarray, n: int) -> Layer:
    """Weights at both ends, sums as large as int32 holds, and scales at the ends of what a word holds."""
    k = x.shape[1]
    weight = np.where(np.arange(k * n).reshape(k, n) % 3 == 0, 127, -128).astype(np.int8)
    weight[:, ::4] = -128
    sums = x.astype(np.int64) @ weight.astype(np.int64)
    highest, lowest = LIMIT - 1 - np.maximum(sums.max(0), 0), -LIMIT - np.minimum(sums.min(0), 0)
    bias = np.where(np.arange(n) % 2 == 0, highest, lowest)
    bias[2::5] = 2**15 * np.arange(bias[2::5].size)
    scales = [SCALES[(column * 5) // 2 % len(SCALES)] for column in range(n)]
    return Layer(weight, bias.astype(np.int32), *np.array(scales).T, random_bytes(256))


def fine_just_below(shift: int) -> tuple[int, int, int]:
    """The like of `JUST_BELOW` with a multiplier of 20 bits: sum * mul is 2^(shift - 1) - 1 past a multiple."""
    for mul in range(2**20 - 1, 2**19, -2):
        total = (2 ** (shift - 1) - 1) * pow(mul, -1, 2**shift) % 2**shift
        if total < LIMIT - 1 and (total * mul >> shift) < 2**15:
            return total, mul, shift
    raise AssertionError(f"no sum for shift {shift}")


def just_below(k: int, fine: bool = False) -> Layer:
    """No weights, and biases that miss the next larger result; then those that just reach it."""
    sums = [fine_just_below(shift) for shift in range(20, 46)] if fine else JUST_BELOW
    bias, mul, shift = (np.array(column * 2) for column in zip(*sums, strict=True))
    bias[len(sums) :] += 1
    return Layer(np.zeros((k, bias.size), np.int8), bias.astype(np.int32), mul, shift, random_bytes(256))


def weights_of(kernel: Kernel, packed: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Packed constants by the names of the kernel's weight operands."""
    names = [operand.name for operand in kernel.operands if operand.role == "weight"]
    return dict(zip(names, packed, strict=True))


def run_all(cases: Sequence[tuple[Kernel, Mapping[str, np.ndarray]]], target: CpuTarget) -> list[np.ndarray]:
    """The results of kernels that are compiled together."""
    demand(target)
    arenas = [Arena(kernel, arrays) for kernel, arrays in cases]
    entries = [replace(arena.entry(), name=f"main{index}") for index, arena in enumerate(arenas)]
    library: Any = compile_entries(entries, target)
    for entry, arena in zip(entries, arenas, strict=True):
        call(library[entry.name], arena)
    return [arena.outputs()["y"] for arena in arenas]


def equal(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
