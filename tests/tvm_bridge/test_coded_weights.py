"""Kernels that expand weights in 4 bits against the law, bit for bit: they are those of the expanded int8 weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.hw import law
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weights4 import GROUP, CodedWeight, pack_codes
from edgemtl.operators import QExperts, QLinear
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.build import compile_entries
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import qexperts, qlinear
from tests.support.processors import on_each
from tests.tvm_bridge.harness import Arena
from tests.tvm_bridge.int8_cases import (
    TARGETS,
    equal,
    layer,
    random_bytes,
    random_shorts,
    random_wide,
    run_all,
    weights_of,
)

BYTES, SHORTS, TWELVE = Finish("int8", 3, -127), Finish("int16"), Finish("int16", -31, wide=True)
LINEAR = [
    QLinear(1, 1, 1, BYTES, coded=True),
    QLinear(2, 3, 8, BYTES, table=True, coded=True),
    QLinear(33, 97, 96, BYTES, coded=True),
    QLinear(13, 64, 221, BYTES, table=True, coded=True),
    QLinear(7, 130, 200, SHORTS, residual=True, coded=True),
    QLinear(5, 200, 13, SHORTS, coded=True),
    QLinear(3, 259, 70, TWELVE, wide=True, coded=True),
]
UP = QExperts(14, 1, 3, 97, 96, True, BYTES, coded=True)
DOWN = QExperts(7, 2, 3, 130, 13, False, SHORTS, coded=True)
EXPERTS = [(UP, [0, 14, 0]), (UP, [7, 0, 7]), (DOWN, [5, 8, 1]), (replace(UP, wide=True), [1, 1, 12])]

Case = tuple[tuple[Kernel, dict[str, np.ndarray]], np.ndarray]


def coded(k: int, n: int, seed: int = 0) -> CodedWeight:
    """Every code and multiplier, the ends more often than the rest."""
    random = np.random.default_rng([seed, k, n])
    codes = np.where(random.random((k, n)) < 0.2, -8, random.integers(-8, 8, (k, n))).astype(np.int8)
    groups = -(-k // GROUP), n
    ends = np.where(random.random(groups) < 0.5, -127, 127)
    multipliers = np.where(random.random(groups) < 0.2, ends, random.integers(-127, 128, groups)).astype(np.int8)
    return CodedWeight(k, pack_codes(codes), multipliers)


def linear_case(spec: QLinear, target: CpuTarget) -> Case:
    constants, weight = layer(spec.k, spec.n), coded(spec.k, spec.n)
    x = (random_wide if spec.wide else random_bytes)(spec.rows, spec.k)
    residual = random_shorts(spec.rows, spec.n) if spec.residual else None
    table = constants.table if spec.table else None
    kernel = qlinear.build(spec, target)
    others = constants.bias, constants.words, *([constants.table] if spec.table else [])
    packed = qlinear.pack(spec, target, weight.codes, weight.multipliers, *others)
    arrays = {"x": x} | weights_of(kernel, packed) | ({} if residual is None else {"residual": residual})
    return (kernel, arrays), law.linear(
        x, weight.expand(), constants.bias, constants.mul, constants.shift, spec.how, table, residual
    )


def experts_case(spec: QExperts, counts: list[int], target: CpuTarget) -> Case:
    constants = [layer(spec.k, spec.n, seed) for seed in range(spec.slots)]
    weights = [coded(spec.k, spec.n, seed) for seed in range(spec.slots)]
    rows, kernel = spec.tokens * spec.top_k, qexperts.build(spec, target)
    x = (random_wide if spec.wide else random_bytes)(spec.tokens if spec.gather else rows, spec.k)
    tokens = np.random.default_rng(0).permutation(np.arange(rows, dtype=np.int32) // spec.top_k)
    tensors = [qexperts.pack_expert(spec, target, w.codes, w.multipliers) for w in weights]
    step = -(-tensors[0].size // 16) * 16
    section = np.full(step * spec.slots, -1, np.int32)
    for index, tensor in enumerate(tensors):
        section[index * step : index * step + tensor.size] = tensor
    sides = [w.expand() for w in weights], [c.bias for c in constants], [c.words for c in constants]
    table = np.arange(spec.slots, dtype=np.int32) * step
    packed = weights_of(kernel, [table, qexperts.pack_params(spec, target, *sides)])
    offsets = np.cumsum([0, *counts]).astype(np.int32)
    parts = np.split(x[tokens] if spec.gather else x, offsets[1:-1])
    answers = [
        law.linear(part, w.expand(), c.bias, c.mul, c.shift, spec.how)
        for part, w, c in zip(parts, weights, constants, strict=True)
    ]
    return (kernel, {"x": x, "tokens": tokens, "offsets": offsets, "weights": section} | packed), np.concatenate(
        answers
    )


@on_each(TARGETS)
def test_the_law_of_the_expanded_weights_holds(target: CpuTarget) -> None:
    cases = [linear_case(spec, target) for spec in LINEAR] + [experts_case(*each, target) for each in EXPERTS]
    kernels, expected = zip(*cases, strict=True)
    for actual, right in zip(run_all(kernels, target), expected, strict=True):
        equal(actual, right)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name}-{target.threads}")
def test_packed_weights_take_half_their_bytes(target: CpuTarget) -> None:
    weight = coded(192, 576)
    packed = qlinear.pack_any(192, target, weight.codes, weight.multipliers)
    assert packed.nbytes == weight.nbytes == 192 * 576 // 2 + 3 * 576


def test_a_board_expands_with_one_instruction() -> None:
    target = resolve("cpu-a53", 1)
    made = compile_entries([Arena(qlinear.build(LINEAR[2], target), {}).entry()], target)
    assert "sqrdmulh" in made.mod.inspect_source("asm")
