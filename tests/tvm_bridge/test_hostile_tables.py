"""Tables by which kernels find memory, filled with what a flipped bit leaves: results are those of the clamped one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgemtl.hw.law import Finish
from edgemtl.operators import Combine, Dispatch, Experts, QCombine, QExperts, QRouter, Resize, Router, TensorType
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.build import compile_entries
from edgemtl.tvm_bridge.generic import Call, lower_call
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import combine, dispatch, experts, qcombine, qexperts, qrouter, resize, router
from edgemtl.tvm_bridge.kernels.coded_weights import Layout
from edgemtl.tvm_bridge.kernels.emit import LINE_WORDS
from edgemtl.tvm_bridge.kernels.int8_tiles import packed_words
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from tests.tvm_bridge.harness import Arena, call, normal, on_targets, run

Arrays = dict[str, np.ndarray]
EXTREMES = (2**31 - 1, -(2**31), -1, 0x7F7F7F7F)
SLOTS, TOKENS, WIDTH = 3, 8, 20
MORE_WORDS = 24


def hostile(table: np.ndarray, seed: int) -> np.ndarray:
    """The table with extremes in it, or with bits of it flipped."""
    changed = table.copy()
    if seed < len(EXTREMES):
        changed.reshape(-1)[seed % changed.size :] = EXTREMES[seed]
        return changed
    rng = np.random.default_rng(seed)
    changed.reshape(-1)[rng.integers(changed.size)] ^= np.int32(1 << rng.integers(31))
    return changed


def agree(
    kernel: Kernel, target: CpuTarget, arrays: Arrays, name: str, clamp: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Hostile tables of one name give what the same tables give after ``clamp``, and nothing is written outside."""
    function = compile_entries([Arena(kernel, arrays).entry()], target)["main"]

    def results(table: np.ndarray) -> Arrays:
        arena = Arena(kernel, arrays | {name: table})
        call(function, arena)
        return arena.outputs()

    for seed in range(len(EXTREMES) + 4):
        table = hostile(arrays[name], seed)
        actual = results(table)
        for output, values in results(clamp(table)).items():
            np.testing.assert_array_equal(actual[output], values)


def between(low: int, high: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda table: np.clip(table, low, high)


def expert_case(spec: Experts | QExperts, size: int, dtype: str) -> tuple[Arrays, int]:
    """Operands of an expert kernel, and the words of its section of weights."""
    step = -(-size // LINE_WORDS) * LINE_WORDS
    words = step * SLOTS + MORE_WORDS
    rows = spec.tokens * spec.top_k
    section = (
        normal(words) if dtype == "float32" else np.random.default_rng(0).integers(-99, 99, words).astype(np.int32)
    )
    table = (np.arange(SLOTS) * step).astype(np.int32)
    tokens = (np.arange(rows) // spec.top_k).astype(np.int32)
    return {"weights": section, "table": table, "tokens": tokens, "offsets": np.array([0, 3, 3, rows], np.int32)}, words


def placed(words: int, size: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda table: np.clip(table, 0, words - size) // LINE_WORDS * LINE_WORDS


@on_targets()
@pytest.mark.parametrize("name", ["table", "tokens"])
def test_experts(target: CpuTarget, name: str) -> None:
    spec = Experts(TOKENS, 1, SLOTS, WIDTH, 24, True, "")
    size = (spec.k + 1) * padded_width(spec.n, target)
    arrays, words = expert_case(spec, size, "float32")
    clamp = placed(words, size) if name == "table" else between(0, TOKENS - 1)
    agree(experts.build(spec, target), target, arrays | {"x": normal(TOKENS, WIDTH)}, name, clamp)


@on_targets()
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("name", ["table", "tokens"])
def test_integer_experts(target: CpuTarget, name: str, coded: bool) -> None:
    spec = QExperts(TOKENS, 1, SLOTS, WIDTH, 24, True, Finish("int16"), coded=coded)
    size = Layout(spec.k, spec.n, target).words if coded else packed_words(spec.k, spec.n, target)
    arrays, words = expert_case(spec, size, "int32")
    arrays["x"] = np.random.default_rng(1).integers(-99, 99, (TOKENS, WIDTH)).astype(np.int8)
    arrays["params"] = np.full((SLOTS, 2, padded_width(spec.n, target)), 0x3C000000, np.int32)
    clamp = placed(words, size) if name == "table" else between(0, TOKENS - 1)
    agree(qexperts.build(spec, target), target, arrays, name, clamp)


@on_targets()
@pytest.mark.parametrize(
    "offsets", [[0, 2**31 - 1, 3, TOKENS], [-(2**31), 3, 3, TOKENS], [0, 3, -7, 2**30], [9, 2, 1, 0]]
)
def test_rows_of_experts_stay_inside(target: CpuTarget, offsets: list[int]) -> None:
    """Whatever the offsets are, nothing is written outside the result: `run` looks at what lies beside it."""
    spec = Experts(TOKENS, 1, SLOTS, WIDTH, 24, True, "")
    arrays, _ = expert_case(spec, (spec.k + 1) * padded_width(spec.n, target), "float32")
    held = arrays | {"x": normal(TOKENS, WIDTH), "offsets": np.array(offsets, np.int32)}
    assert run(experts.build(spec, target), target, **held)["y"].shape == (TOKENS, spec.n)
    integer = QExperts(TOKENS, 1, SLOTS, WIDTH, 24, True, Finish("int16"))
    arrays, _ = expert_case(integer, packed_words(integer.k, integer.n, target), "int32")
    arrays["params"] = np.zeros((SLOTS, 2, padded_width(integer.n, target)), np.int32)
    held = arrays | {"x": np.ones((TOKENS, WIDTH), np.int8), "offsets": np.array(offsets, np.int32)}
    assert run(qexperts.build(integer, target), target, **held)["y"].shape == (TOKENS, integer.n)


@on_targets()
def test_candidates(target: CpuTarget) -> None:
    spec, logits = Router(TOKENS, 6, 2, (1, 2, 4, 5), True, 0.0), normal(TOKENS, 6)
    # The scores of candidates that do not ascend are overwritten before they are read: only their bounds are compared.
    arrays = {"logits": logits, "candidates": np.array(spec.candidates, np.int32)}
    agree(router.build(spec, target), target, arrays, "candidates", between(0, 5))
    given = Dispatch(TOKENS, 6, 2, (1, 2, 4, 5))
    agree(dispatch.build(given, target), target, arrays, "candidates", between(0, 5))


@on_targets()
def test_integer_candidates(target: CpuTarget) -> None:
    spec = QRouter(TOKENS, 6, 2, (1, 2, 4, 5), True, 0)
    candidates, exp2 = qrouter.pack(spec, target)
    logits = np.random.default_rng(0).integers(-9999, 9999, (TOKENS, 6)).astype(np.int16)
    arrays = {"logits": logits, "candidates": candidates, "exp2": exp2}
    agree(qrouter.build(spec, target), target, arrays, "candidates", between(0, 5))


@on_targets()
def test_slots(target: CpuTarget) -> None:
    slots = np.arange(2 * TOKENS, dtype=np.int32).reshape(TOKENS, 2)
    arrays = {"x": normal(2 * TOKENS, WIDTH), "weights": normal(TOKENS, 2), "slots": slots}
    clamp = between(0, 2 * TOKENS - 1)
    agree(combine.build(Combine(TOKENS, 2, WIDTH, False), target), target, arrays, "slots", clamp)
    words = {"x": np.ones((2 * TOKENS, WIDTH), np.int16), "weights": np.ones((TOKENS, 2), np.int32), "slots": slots}
    agree(qcombine.build(QCombine(TOKENS, 2, WIDTH, False), target), target, words, "slots", clamp)


@on_targets()
@pytest.mark.parametrize("name", ["rows", "columns"])
@pytest.mark.parametrize("planar", [True, False])
def test_resize(target: CpuTarget, name: str, planar: bool) -> None:
    spec = Resize(5, 7, 12, 11, 9, planar)
    packed = dict(zip(("rows", "row_weights", "columns", "column_weights"), resize.pack(spec, target), strict=True))
    arrays = {"x": normal(5, 7 * 12), **packed}
    clamp = between(0, 3 if name == "rows" else 5)
    agree(resize.build(spec, target), target, arrays, name, clamp)


FORMS = {
    "Resize": ({"mode": "nearest"}, (1, 2, 4, 5), (1, 2, 8, 10), {2: np.array([1, 1, 2, 2], np.float32)}),
    "Pad": ({"mode": "edge"}, (1, 2, 4, 5), (1, 2, 7, 6), {1: np.array([0, 0, 1, 1, 0, 0, 2, 0])}),
    "ConvTranspose": ({"strides": (2, 2)}, (1, 2, 4, 5), (1, 3, 9, 11), {1: normal(2, 3, 3, 3)}),
}


@on_targets()
@pytest.mark.parametrize("op", FORMS)
def test_generic_operators(target: CpuTarget, op: str) -> None:
    """Each table of indices that a definition makes says its bounds, and is clamped to them."""
    attributes, before, after, constants = FORMS[op]
    most = max(constants) + 1
    types = [TensorType(before, "float32"), *[None] * (most - 1)]
    for index, array in constants.items():
        types[index] = TensorType(array.shape, str(array.dtype))
    made = lower_call("node", Call(op, 21, attributes, tuple(types), constants, (TensorType(after, "float32"),)))
    weights = [operand for operand in made.operator.kernel.operands if operand.role == "weight"]
    arrays = {operand.name: array for operand, array in zip(weights, made.weights, strict=True)}
    inputs = {o.name: normal(*o.shape) for o in made.operator.kernel.operands if o.role == "input"}
    tables = [operand for operand in weights if operand.bounds is not None]
    assert tables
    for table in tables:
        assert table.bounds is not None
        low, high = table.bounds
        assert low == 0
        assert 0 <= arrays[table.name].min() <= arrays[table.name].max() <= high
        agree(made.operator.kernel, target, inputs | arrays, table.name, between(low, high))
