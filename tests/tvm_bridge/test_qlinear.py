"""The integer linear kernel against the law, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.hw import law
from edgemtl.hw.law import Finish
from edgemtl.operators import QLinear
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.build import compile_entries
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import qlinear
from tests.support.processors import on_each
from tests.tvm_bridge.harness import Arena, call, with_threads
from tests.tvm_bridge.int8_cases import (
    TARGETS,
    Layer,
    equal,
    extreme,
    just_below,
    layer,
    random_bytes,
    random_shorts,
    random_wide,
    run_all,
    weights_of,
)

BYTES, SHIFTED, RELU, SHORTS = Finish("int8"), Finish("int8", 3, -127), Finish("int8", -128), Finish("int16")
TWELVE = Finish("int16", -31, wide=True)
SPECS = [
    QLinear(1, 1, 1, BYTES),
    QLinear(2, 3, 8, SHIFTED, table=True),
    QLinear(7, 5, 13, SHORTS, residual=True),
    QLinear(33, 97, 96, RELU),
    QLinear(7, 96, 96, BYTES, table=True),
    QLinear(2, 97, 13, SHORTS),
    QLinear(33, 5, 8, SHORTS, residual=True),
    QLinear(13, 64, 221, SHIFTED, table=True),
    QLinear(7, 12, 200, SHORTS, residual=True),
    QLinear(33, 7, 150, SHIFTED),
]
WIDE = [
    QLinear(2, 3, 8, SHIFTED, table=True, wide=True),
    QLinear(7, 5, 13, SHORTS, residual=True, wide=True),
    QLinear(33, 97, 96, TWELVE, table=True, wide=True),
    QLinear(13, 300, 30, TWELVE, wide=True),
    QLinear(5, 512, 21, BYTES, wide=True),
    QLinear(13, 64, 221, TWELVE, table=True),
]

Case = tuple[Kernel, dict[str, np.ndarray]]


def case(spec: QLinear, target: CpuTarget, x: np.ndarray, held: Layer) -> tuple[Case, np.ndarray]:
    """A kernel with its arrays, and the law's answer."""
    kernel = qlinear.build(spec, target)
    if spec.how.wide and spec.table:
        held = replace(held, table=random_wide(4096))
    residual = random_shorts(spec.rows, spec.n) if spec.residual else None
    arrays = {"x": x} | weights_of(kernel, qlinear.pack(spec, target, *held.constants(spec.table)))
    if residual is not None:
        arrays["residual"] = residual
    table = held.table if spec.table else None
    expected = law.linear(x, held.weight, held.bias, held.mul, held.shift, spec.how, table, residual)
    return (kernel, arrays), expected


def cases(target: CpuTarget) -> list[tuple[Case, np.ndarray]]:
    """Every spec with random numbers, with extreme ones, and with the largest sums there are."""
    found = []
    for spec in SPECS:
        x = random_bytes(spec.rows, spec.k)
        ends, least = np.where(x < 0, -128, 127).astype(np.int8), np.full_like(x, -128)
        found += [case(spec, target, x, layer(spec.k, spec.n))]
        found += [case(spec, target, held, extreme(held, spec.n)) for held in (ends, least)]
    for held in (just_below(4), just_below(4, fine=True)):
        below = [QLinear(1, 4, held.bias.size, how) for how in (SHIFTED, SHORTS)]
        found += [case(spec, target, random_bytes(1, 4), held) for spec in below]
    return found


@on_each(TARGETS)
def test_the_law_holds(target: CpuTarget) -> None:
    held, expected = zip(*cases(target), strict=True)
    for actual, wanted in zip(run_all(held, target), expected, strict=True):
        equal(actual, wanted)


@on_each(TARGETS)
def test_the_law_holds_for_twelve_bits(target: CpuTarget) -> None:
    """Also where every activation is one of the ends, against weights that make the largest sums."""
    found = []
    for spec in WIDE:
        x = random_wide(spec.rows, spec.k) if spec.wide else random_bytes(spec.rows, spec.k)
        ends = np.where(x < 0, -2048, 2047).astype(x.dtype) if spec.wide else x
        found += [case(spec, target, x, layer(spec.k, spec.n)), case(spec, target, ends, extreme(ends, spec.n))]
    held, expected = zip(*found, strict=True)
    for actual, wanted in zip(run_all(held, target), expected, strict=True):
        equal(actual, wanted)


@on_each([resolve("cpu-avx2", 3)])
def test_the_same_bits_for_one_thread_and_two(target: CpuTarget) -> None:
    spec = QLinear(13, 64, 221, SHIFTED, table=True)
    (kernel, arrays), expected = case(spec, target, random_bytes(13, 64), layer(64, 221))
    function = compile_entries([Arena(kernel, arrays).entry()], target)["main"]

    def work() -> np.ndarray:
        arena = Arena(kernel, arrays)
        call(function, arena)
        return arena.outputs()["y"]

    for threads in (1, 2):
        equal(with_threads(threads, work), expected)


def test_extremes_reach_both_ends() -> None:
    x = np.full((2, 64), -128, np.int8)
    held = extreme(x, 96)
    sums = x.astype(np.int64) @ held.weight.astype(np.int64) + held.bias
    assert (sums.min(), sums.max()) == (-(2**31), 2**31 - 1)
    answers = law.linear(x, held.weight, held.bias, held.mul, held.shift, BYTES)
    assert (answers.min(), answers.max()) == (-128, 127)


def test_weights_take_little_more_than_their_bytes() -> None:
    spec = QLinear(1, 97, 96, BYTES)
    for target in TARGETS:
        size = sum(array.nbytes for array in qlinear.pack(spec, target, *layer(97, 96).constants()))
        assert size <= 100 * 96 + 8 * 96


@pytest.mark.parametrize("threads", [1, 2])
def test_compiles_for_a_board(threads: int) -> None:
    target = resolve("cpu-a53", threads)
    made = compile_entries([Arena(qlinear.build(SPECS[4], target), {}).entry()], target)
    assert "smlal" in made.mod.inspect_source("asm")  # NEON's widening multiply-add of 16-bit values
