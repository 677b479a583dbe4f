"""Operands by name: what a signature counts, and what a step gives for a name."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.codegen.cpu.families import FAMILIES, build_kernel
from edgemtl.hw.law import Finish
from edgemtl.hw.law_generic import NormRows
from edgemtl.hw.law_weightless import Rescale, Windows
from edgemtl.lowering.ir import INPUT, Constant, dense, make_step
from edgemtl.operators.operator import Signature, Values, float32, int32
from edgemtl.processor import TARGETS

IMAGE = f"{INPUT}image"

BYTES, SHORTS, TWELVE = Finish("int8"), Finish("int16"), Finish("int16", 3, wide=True)
WAYS = ops.Winograd | ops.WinogradWeights | ops.QWinograd | ops.QWinogradWeights
WINDOWS = Windows(9, 11, 5, 6, (3, 3), (2, 2), (1, 1))
SAMPLES: tuple[ops.Operator, ...] = (
    ops.Add((4, 6), (6,), "relu"),
    ops.QAdd((4, 6), (4, 6), "int8", "int16", (900, 800), 7, 12, BYTES),
    ops.Multiply((4, 6), (4, 1)),
    ops.QMultiply((4, 6), (1, 6), (3, -5), 900, 14, SHORTS),
    ops.QAdd((4, 6), (4, 1), "int8", "int16", (900, 800), 7, 12, BYTES, constant=True),
    ops.QMultiply((4, 6), (1, 6), (3, 0), 900, 14, SHORTS, constant=True),
    ops.QProduct((3, 4, 6), (6, 5), (3, -5), 70000, 24, BYTES),
    ops.QProduct((4, 6), (6, 5), (3, 0), 70000, 24, SHORTS, "b"),
    ops.QSoftmax(4, 6, "int16", (70000, 20), (70000, 12), BYTES),
    ops.QNormalise(NormRows(4, 2, 3, 8), "int8", 3, 5, True, BYTES),
    ops.QCurve(24),
    ops.Widen(24),
    ops.QMove(4, 2, 6, 5, "int8"),
    ops.Activate(24, "gelu"),
    ops.Pixels(12, 3),
    ops.QPixelPatches(3, 8, 12, 4),
    ops.QPixels(12, 3),
    ops.QLookup(4, 6),
    ops.QLookup(4, 6, by_column=True),
    ops.Pool("max", 6, WINDOWS),
    ops.Pool("average", 6, WINDOWS),
    ops.QPool("max", 6, WINDOWS),
    ops.QPool("average", 6, WINDOWS, 3, Finish("int8", -4)),
    ops.Concat(4, (6, 2)),
    ops.QConcat(4, (6, 2), (Rescale(0, 1 << 16, 16, 0), Rescale(1, 70000, 17, 2)), ("int8", "int16"), "int8"),
    ops.Resample(4, 6, 8, 9, 12, 2, 1),
    ops.QResample(4, 6, 8, 9, 12, 2, 1),
    ops.Linear(8, 16, 24, "gelu", True),
    ops.QLinear(8, 16, 24, BYTES, table=True),
    ops.QLinear(8, 16, 24, SHORTS, residual=True),
    ops.LayerNorm(8, 16, 1e-6),
    ops.QLinear(8, 16, 24, TWELVE, table=True, wide=True),
    ops.QLinear(8, 65, 24, BYTES, coded=True),
    ops.QLayerNorm(8, 16, 3, 70000, 20),
    ops.QLayerNorm(8, 16, 4**9, 70000, 12, wide=True),
    ops.Attention(16, 2, 16, 0.25),
    ops.QAttention(16, 2, 16, 2, 70000, 20),
    ops.QAttention(16, 2, 16, 2, 70000, 20, wide=True),
    ops.PatchEmbed(3, 16, 16, 8, 16, 1),
    ops.QPatchEmbed(4, 192, 16, 1),
    ops.QPatchEmbed(4, 192, 16, 1, wide=True),
    ops.QuantiseImage(3, 16, 16, 8, 40.0, 3),
    ops.QuantiseImage(3, 16, 16, 8, 40.0, 3, wide=True),
    ops.Router(8, 6, 2, (0, 1, 2, 5), False, 0.0),
    ops.Dispatch(8, 6, 2, (0, 1, 2, 5)),
    ops.QRouter(8, 6, 2, (0, 1, 2, 5), False, 0),
    ops.Experts(8, 2, 4, 16, 32, True, "gelu"),
    ops.QExperts(8, 2, 4, 16, 32, True, BYTES, table=True),
    ops.QExperts(8, 2, 4, 16, 32, True, TWELVE, table=True, wide=True),
    ops.QExperts(8, 2, 4, 16, 32, True, BYTES, table=True, coded=True),
    ops.Combine(8, 2, 16, True),
    ops.QCombine(8, 2, 16, True),
    ops.Conv2d(8, 8, 16, 16, (3, 3), pad=(1, 1, 1, 1)),
    ops.Conv2d(8, 8, 16, 16, (3, 3), pad=(1, 1, 1, 1), groups=16),
    ops.QConv2d(8, 8, 16, 16, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 0, BYTES, table=True),
    ops.Winograd(8, 8, 16, 16, True, "relu", 16, 16),
    ops.WinogradWeights(16, 16, False, 16),
    ops.QWinograd(8, 8, 16, 16, 3, BYTES, True, 16),
    ops.QWinogradWeights(16, 16, 16),
    ops.Resize(8, 8, 16, 16, 16),
    ops.QBilinear(8, 8, 16),
    ops.DequantiseImage(8, 8, 16, True, "int8", 0.1, 0),
    ops.QClasses(8, 8, 16, True, "int16"),
    ops.Quantise(64, "int8", 1.0, 0),
    ops.Quantise(64, "int16", 1.0, 0, wide=True),
    ops.Dequantise(64, "int16", 1.0, 0),
    ops.Convert(64, "int16", "int8", Rescale(0, 70000, 20, 0)),
    ops.Copy((4, 6), (6, 1), (6, 1)),
    ops.QCopy(1, (4, 6), (6, 1), (6, 1)),
)


def test_the_samples_are_of_every_operator() -> None:
    assert {type(operator) for operator in SAMPLES} == set(FAMILIES)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
@pytest.mark.parametrize("operator", SAMPLES, ids=lambda operator: type(operator).__name__)
def test_kernels_take_what_signatures_say(operator: ops.Operator, target) -> None:
    """Names, types and sizes, on every target; constants are packed and may be larger there."""
    kernel, signature = build_kernel(operator, target), operator.signature
    for role, types in (("input", signature.inputs), ("output", signature.outputs)):
        operands = {o.name: (o.dtype, o.bytes) for o in kernel.operands if o.role == role}
        if not isinstance(operator, WAYS):
            assert operands == {name: (kind.dtype, kind.nbytes) for name, kind in types.items()}
        assert list(operands) == list(types)


@pytest.mark.parametrize("operator", SAMPLES, ids=lambda operator: type(operator).__name__)
def test_what_is_computed_has_the_types_of_the_signature(operator: ops.Operator) -> None:
    if isinstance(operator, WAYS):
        with pytest.raises(NotImplementedError, match=f"{type(operator).__name__} has no definition in numpy"):
            operator.compute(Values(operator.signature, [np.zeros(1)] * len(operator.signature.inputs), [], np.matmul))
        return
    signature, rng = operator.signature, np.random.default_rng(0)

    def draw(name: str, kind: ops.TensorType) -> np.ndarray:
        if name == "offsets":
            return np.linspace(0, 16, kind.size).astype(np.int32)
        if name.endswith("index"):
            return (np.arange(kind.size) % 4).astype(np.int32).reshape(kind.shape)
        if name in ("slots", "tokens"):
            return (np.arange(kind.size) % 8).astype(np.int32).reshape(kind.shape)
        if name == "scale" and kind.dtype == "int32":
            return np.full(kind.shape, 20 << 17, np.int32)
        return rng.integers(-20, 20, kind.shape).astype(kind.dtype)

    inputs = [draw(name, kind) for name, kind in signature.inputs.items()]
    constants = [draw(name, kind) for name, kind in signature.constant_types]
    values = Values(signature, inputs, constants, np.matmul)
    outputs = operator.compute(values)
    assert [(a.shape, a.dtype.name) for a in outputs] == [(t.shape, t.dtype) for t in signature.outputs.values()]
    for part in operator.parts:
        assert operator.part(part, values).size


def test_constants_of_experts_lie_one_expert_behind_the_other() -> None:
    signature = Signature({}, {}, {"table": int32(4)}, {"weight": float32(2), "bias": float32(1)}, 3)
    names = [name for name, _ in signature.constant_types]
    assert names == ["weight", "bias", "weight", "bias", "weight", "bias", "table"]
    assert [signature.constant_position("bias", expert) for expert in range(3)] == [1, 3, 5]
    assert signature.constant_position("table") == 6
    for name, expert in (("weight", None), ("weight", 3), ("weight", -1), ("table", 0), ("scale", None)):
        with pytest.raises(KeyError):
            signature.constant_position(name, expert)


def test_a_step_gives_its_operands_by_name() -> None:
    operator = ops.Experts(4, 2, 2, 3, 5, True, "")
    views = {
        "x": dense(IMAGE, (4, 3)),
        "tokens": dense("t", (8,), "int32"),
        "offsets": dense("o", (3,), "int32"),
        "y": dense("y", (8, 5)),
    }
    weights = [Constant(f"w{e}", np.full((3, 5), e, np.float32)) for e in range(2)]
    biases = [Constant(f"b{e}", np.full(5, e, np.float32)) for e in range(2)]
    step = make_step(operator, views, {"bias": biases, "weight": weights}, ("moe",))
    assert [step[name] for name in views] == list(views.values())
    assert [step.constant("weight", e).name for e in range(2)] == ["w0", "w1"]
    assert step.constant("bias", 1) == biases[1]
    np.testing.assert_array_equal(step.arrays(1)["weight"], weights[1].array)
    assert (step.main_input, step.result) == (views["x"], views["y"])
