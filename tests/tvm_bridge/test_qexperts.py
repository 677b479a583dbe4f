"""The integer expert kernel against the law, expert by expert, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgemtl.codegen.cpu.families import pack
from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.hw import law
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import Constant, Step, dense, make_step
from edgemtl.operators import QExperts
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import qexperts
from tests.support.processors import on_each
from tests.tvm_bridge.int8_cases import TARGETS, Layer, equal, layer, random_bytes, random_wide, run_all, weights_of

GAP = 48  # words between experts: they need not lie side by side
FIRST = QExperts(14, 1, 3, 20, 96, True, Finish("int8", 3, -127), table=True)
SECOND = QExperts(7, 2, 3, 97, 13, False, Finish("int16"))
TWELVE = Finish("int16", 5, wide=True)
CASES = [
    *((replace(FIRST, wide=True, how=how), [7, 0, 7]) for how in (FIRST.how, TWELVE)),
    (replace(SECOND, wide=True), [5, 8, 1]),
    *((FIRST, counts) for counts in ([0, 14, 0], [14, 0, 0], [1, 1, 12], [7, 0, 7])),
    *((SECOND, counts) for counts in ([0, 0, 14], [5, 8, 1])),
]


def place(spec: QExperts, target: CpuTarget, held: list[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """A weights section that holds the experts in reverse order, and the table of their places."""
    tensors = [qexperts.pack_expert(spec, target, expert.weight) for expert in held]
    step = -(-tensors[0].size // 16) * 16 + GAP
    section = np.full(step * spec.slots, -1, np.int32)
    table = np.arange(spec.slots, dtype=np.int32)[::-1] * step
    for start, tensor in zip(table, tensors, strict=True):
        section[start : start + tensor.size] = tensor
    return section, np.ascontiguousarray(table)


def case(
    spec: QExperts, counts: list[int], target: CpuTarget
) -> tuple[tuple[Kernel, dict[str, np.ndarray]], np.ndarray]:
    kernel, rows = qexperts.build(spec, target), spec.tokens * spec.top_k
    held = [layer(spec.k, spec.n, seed) for seed in range(spec.slots)]
    x = (random_wide if spec.wide else random_bytes)(spec.tokens if spec.gather else rows, spec.k)
    if spec.how.wide:
        held = [replace(expert, table=random_wide(4096)) for expert in held]
    tokens = np.random.default_rng(0).permutation(np.arange(rows, dtype=np.int32) // spec.top_k)
    section, table = place(spec, target, held)
    weights, biases, scales, tables = zip(*(expert.constants(table=True) for expert in held), strict=True)
    params = qexperts.pack_params(spec, target, weights, biases, scales)
    packed = [table, params, *(tables[:1] if spec.table else [])]
    offsets = np.cumsum([0, *counts]).astype(np.int32)
    arrays = {"x": x, "tokens": tokens, "offsets": offsets, "weights": section} | weights_of(kernel, packed)
    source = np.split(x[tokens] if spec.gather else x, offsets[1:-1])
    lookup = tables[0] if spec.table else None
    answers = [
        law.linear(x, e.weight, e.bias, e.mul, e.shift, spec.how, lookup) for x, e in zip(source, held, strict=True)
    ]
    return (kernel, arrays), np.concatenate(answers)


@on_each(TARGETS)
def test_the_law_holds(target: CpuTarget) -> None:
    held, expected = zip(*(case(spec, counts, target) for spec, counts in CASES), strict=True)
    for actual, wanted in zip(run_all(held, target), expected, strict=True):
        equal(actual, wanted)


def step_of(bias: int) -> Step:
    """A step: the same weights whatever the bias."""
    held = [layer(FIRST.k, FIRST.n, seed) for seed in range(FIRST.slots)]
    signature = FIRST.signature
    views = {
        name: dense(name, kind.shape, kind.dtype) for name, kind in {**signature.inputs, **signature.outputs}.items()
    }
    constants = {
        "weight": [Constant("w", e.weight) for e in held],
        "bias": [Constant("b", e.bias + np.int32(bias)) for e in held],
        "scale": [Constant("s", e.words) for e in held],
        "table": Constant("t", held[0].table),
    }
    return make_step(FIRST, views, constants)


def test_tasks_share_weights_whatever_their_biases() -> None:
    target, store = resolve("cpu-avx512-vnni"), WeightStore()
    first = list(pack(step_of(0), target, store))
    count = len(store.tensors)
    assert count == FIRST.slots + 3
    second = list(pack(step_of(1), target, store))
    assert len(store.tensors) == count + 1
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]
    roles = [operand for operand in qexperts.build(FIRST, target).operands if operand.role == "weight"]
    sizes = {tensor.offset: tensor.array.nbytes for tensor in store.tensors}
    assert [operand.bytes for operand in roles] == [sizes[offset] for offset in first]
