"""Kernels of sums, products, tables, pools, concatenations and resizes: integers bit by bit as the law has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.codegen.cpu.families import FAMILIES, build_kernel
from edgemtl.hw.arith import pack_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weightless import Rescale, Windows
from edgemtl.operators import Operator, Values
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.build import compile_entries
from tests.support.processors import demand, on_each
from tests.tvm_bridge.harness import Arena, call
from tests.tvm_bridge.integers import host_targets, integers, same, widest

BYTES, SHORTS = Finish("int8", -7, -100), Finish("int16")
WINDOWS = [
    Windows(9, 11, 5, 6, (3, 3), (2, 2), (1, 1)),
    Windows(6, 5, 1, 1, (6, 5)),
    Windows(8, 9, 7, 7, (2, 3), (1, 1), (0, 0), (1, 1)),
    Windows(9, 9, 5, 5, (3, 3), (2, 2), (2, 2), (2, 2)),
]
SHAPES = [
    ((40, 70), (40, 70)),
    ((1, 9, 7, 33), (1, 1, 1, 33)),
    ((1, 9, 7, 33), (1, 9, 7, 1)),
    ((5, 1, 16), (1, 6, 16)),
    ((3001,), ()),
    ((), ()),
]


def binary() -> list[Operator]:
    made: list[Operator] = []
    for a, b in SHAPES:
        made += [ops.QAdd(a, b, "int8", "int8", (16383, -8000), 12345, 13, BYTES)]
        made += [ops.QAdd(a, b, "int16", "int8", (16383, 300), -2, 14, SHORTS)]
        made += [ops.QMultiply(a, b, (-128, 5), 16000, 22, BYTES), ops.QMultiply(a, b, (0, 127), 9000, 15, SHORTS)]
    return made


def others() -> list[Operator]:
    pools: list[Operator] = []
    for windows, channels in zip(WINDOWS, (3, 70, 16, 65), strict=True):
        pools += [ops.QPool("max", channels, windows), ops.QPool("average", channels, windows, -9, Finish("int8", 30))]
        pools += [ops.QPool("average", channels, windows, -9, Finish("int16"))]
    scales = Rescale(0, 1 << 16, 16, 0), Rescale(-128, 100_000, 17, 3), Rescale(4, 70_000, 20, -1)
    concats = [
        ops.QConcat(7, (33, 5, 64), scales, ("int8", "int8", "int16"), "int8"),
        ops.QConcat(3, (33, 5, 64), scales, ("int8", "int16", "int16"), "int16"),
    ]
    resamples = [ops.QResample(5, 6, 19, 9, 12, 2, 4), ops.QResample(4, 4, 70, 8, 8, 1, 1)]
    resamples += [ops.QResample(5, 6, 19, 9, 12, 2, 4, "int16"), ops.QResample(3, 2, 40, 8, 8, 1, 1, "int16")]
    depthwise = [
        ops.QConv2d(9, 11, c, c, 5, 6, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), -5, how, table, c)
        for c, how, table in ((40, BYTES, False), (67, Finish("int8"), True), (16, SHORTS, False))
    ]
    depthwise += [
        ops.QConv2d(7, 9, 64, 64, 7, 9, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 127, BYTES, False, 64),
        ops.QConv2d(9, 9, 100, 100, 7, 9, (4, 3), (1, 1), (1, 2, 0, 2), (1, 2), -128, SHORTS, False, 100),
    ]
    narrow = ops.QConv2d(6, 3, 33, 33, 6, 3, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 9, BYTES, False, 33)
    tables = [ops.QLookup(1, 5000), ops.QLookup(37, 21, by_column=True), ops.QPixels(77, 3), ops.QPixels(128, 1)]
    tables += [ops.QPixelPatches(3, 32, 48, 16), ops.QPixelPatches(1, 6, 9, 3), ops.QPixelPatches(4, 4, 6, 2)]
    return [*pools, *concats, *resamples, *depthwise, narrow, *tables]


def draw(operator: Operator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    signature = operator.signature
    inputs = [integers(kind.dtype, *kind.shape) for kind in signature.inputs.values()]
    return inputs, [_constant(operator, name, kind) for name, kind in signature.constant_types]


def _constant(operator: Any, name: str, kind: ops.TensorType) -> np.ndarray:
    rng = np.random.default_rng(kind.size)
    if name == "scale":
        return pack_scale(rng.integers(70_000, 2**17, kind.shape), rng.integers(19, 22, kind.shape))
    if name.endswith("_index"):
        size = operator.height if name.startswith("row") else operator.width
        return rng.integers(0, size, kind.shape).astype(np.int32)
    if name.endswith("_weight"):
        taps = rng.integers(-200, 900, kind.shape)
        taps[:, 0] += 2048 - taps.sum(1)
        return taps.astype(np.int32)
    low, high = (-1000, 1000) if name == "bias" else (-127, 127)
    return rng.integers(low, high + 1, kind.shape).astype(kind.dtype)


def run(operators: list[Operator], target: CpuTarget) -> None:
    """Compile the kernels together and compare what each wrote with the law."""
    demand(target)
    drawn = [draw(operator) for operator in operators]
    arenas = [_arena(operator, target, *arrays) for operator, arrays in zip(operators, drawn, strict=True)]
    entries = [replace(arena.entry(), name=f"main{index}") for index, arena in enumerate(arenas)]
    program = compile_entries(entries, target)
    for operator, (inputs, constants), entry, arena in zip(operators, drawn, entries, arenas, strict=True):
        call(program[entry.name], arena)
        (expected,) = operator.compute(Values(operator.signature, inputs, constants, np.matmul))
        same(arena.outputs()["y"], expected)


def _arena(operator: Operator, target: CpuTarget, inputs: list[np.ndarray], constants: list[np.ndarray]) -> Arena:
    kernel = build_kernel(operator, target)
    packed = FAMILIES[type(operator)].pack(operator, target, *constants) if constants else ()
    weights = [operand.name for operand in kernel.operands if operand.role == "weight"]
    named = zip((*operator.signature.inputs, *weights), (*inputs, *packed), strict=True)
    return Arena(kernel, dict(named))


@on_each(host_targets())
@pytest.mark.parametrize("operators", [binary(), others()], ids=["sums and products", "others"])
def test_every_bit_is_the_law_s(operators: list[Operator], target: CpuTarget) -> None:
    run(operators, target)


@on_each(host_targets())
def test_averages_have_the_law_s_bits_for_every_scale(target: CpuTarget) -> None:
    """Multipliers and shifts at the ends of what a word holds, against Python's integers."""
    windows = Windows(3, 40, 3, 40, (3, 3), (1, 1), (1, 1))
    operator = ops.QPool("average", 70, windows, -128, Finish("int8", 5))
    shifts = np.repeat([12, 17, 29, 30, 31, 43], 20)
    muls = np.tile([0, 1, 65537, 2**17 - 1], 30)
    x = integers("int8", windows.pixels, 70)
    arena = _arena(operator, target, [x], [pack_scale(muls, shifts)])
    call(compile_entries([arena.entry()], target)["main"], arena)
    padded = np.pad(x.reshape(3, 40, 70).astype(np.int64) + 128, ((1, 1), (1, 1), (0, 0)))
    sums = sum(padded[ky : ky + 3, kx : kx + 40] for ky in range(3) for kx in range(3)).reshape(-1, 70)
    half = 1 << (shifts - 1)
    expected = np.clip(((sums * muls[:, None] + half[:, None]) >> shifts[:, None]) + 5, -128, 127)
    same(arena.outputs()["y"], expected.astype(np.int8))


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(threads: int) -> None:
    run([*binary()[:8], *others()], widest(threads))
