"""Kernels of the integer forms of generic nodes: bit by bit as the law has them, on every target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.hw.arith import pack_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_generic import MOST_DEPTH, NormRows
from edgemtl.operators import Operator, Values
from edgemtl.processor import CpuTarget
from tests.support.processors import on_each
from tests.tvm_bridge.integers import host_targets, integers, run_all, same

BYTES, SHORTS, RECTIFIED = Finish("int8", -7, -100), Finish("int16"), Finish("int16", 0, 0)
PLAIN: list[Operator] = [
    ops.QProduct((3, 40, 33), (3, 33, 70), (3, -5), 100_000, 24, BYTES),
    ops.QProduct((2, 1, 7, 5), (1, 3, 5, 9), (-128, 127), 70_000, 22, SHORTS),
    ops.QProduct((1, 300), (300, 17), (0, 0), 70_000, 24, RECTIFIED),
    ops.QProduct((65, 64), (64, 65), (5, 0), 90_000, 25, BYTES),
    ops.QProduct((4, 9, 1), (1, 3), (1, 2), 90_000, 20, SHORTS),
    ops.QProduct((1, 1), (1, 1), (1, 2), 90_000, 20, BYTES),
    ops.QProduct((13, MOST_DEPTH), (MOST_DEPTH, 3), (-128, 127), 90_000, 30, BYTES),
    ops.QSoftmax(37, 65, "int16", (80_000, 20), (100_000, 14), Finish("int8", -128)),
    ops.QSoftmax(5, 1, "int8", (80_000, 16), (100_000, 14), Finish("int8", -128)),
    ops.QSoftmax(9, 1000, "int8", (80_000, 16), (100_000, 10), Finish("int8", -128)),
    ops.QSoftmax(4, 100, "int16", (131_000, 12), (100_000, 1), SHORTS),
]
WITH_CONSTANTS: list[Operator] = [
    ops.QProduct((5, 8, 6), (6, 37), (3, 0), 70_000, 24, SHORTS, "b"),
    ops.QProduct((2, 8, 6), (2, 6, 37), (0, -3), 70_000, 24, BYTES, "a"),
    ops.QNormalise(NormRows(6, 1, 77, 6), "int8", -20, 3, True, BYTES),
    ops.QNormalise(NormRows(3, 4, 50, 12), "int8", 5, 3, False, SHORTS),
    ops.QNormalise(NormRows(8, 96, 1, 96), "int16", 0, 1, True, SHORTS),
    ops.QNormalise(NormRows(2, 2048, 1, 2048), "int16", 0, 1, False, BYTES),
    ops.QCurve(3001),
    ops.QMove(7, 3, 37, 50, "int8"),
    ops.QMove(7, 1, 1, 1001, "int16"),
    ops.QAdd((1, 9, 7, 33), (7, 1), "int8", "int16", (16383, 300), -2, 14, SHORTS, True),
    ops.QMultiply((1, 9, 7, 33), (7, 33), (-128, 0), 16_000, 22, BYTES, True),
]


def expected(operator: Operator, arrays: dict[str, np.ndarray], constants: list[np.ndarray]) -> np.ndarray:
    (result,) = operator.compute(Values(operator.signature, list(arrays.values()), constants, np.matmul))
    return result


def drawn(operator: Operator) -> dict[str, np.ndarray]:
    return {name: integers(kind.dtype, *kind.shape) for name, kind in operator.signature.inputs.items()}


def constant(operator: Any, name: str, kind: ops.TensorType) -> np.ndarray:
    rng = np.random.default_rng(kind.size)
    if name == "scale":
        signs = rng.integers(-1, 2, kind.shape)
        return (pack_scale(rng.integers(70_000, 2**17, kind.shape), rng.integers(13, 22, kind.shape)) * signs).astype(
            np.int32
        )
    if name == "index":
        assert isinstance(operator, ops.QMove)
        return integers("int32", *kind.shape, low=0, high=operator.count + operator.fills - 1)
    if name == "offset":
        return integers("int32", *kind.shape, low=-200, high=200)
    return integers(kind.dtype, *kind.shape)


@on_each(host_targets())
def test_kernels_without_constants(target: CpuTarget) -> None:
    work = [(operator, drawn(operator)) for operator in PLAIN]
    for (operator, arrays), outputs in zip(work, run_all(target, work), strict=True):
        same(outputs["y"], expected(operator, arrays, []))


@on_each(host_targets())
@pytest.mark.parametrize("operator", WITH_CONSTANTS, ids=lambda operator: type(operator).__name__)
def test_kernels_with_constants(target: CpuTarget, operator: Operator) -> None:
    arrays = drawn(operator)
    constants = [constant(operator, name, kind) for name, kind in operator.signature.constant_types]
    (outputs,) = run_all(target, [(operator, arrays)], *constants)
    same(outputs["y"], expected(operator, arrays, constants))


@on_each(host_targets(1))
def test_rows_without_deviation_and_of_extremes(target: CpuTarget) -> None:
    operator = ops.QNormalise(NormRows(3, 8, 1, 8), "int16", 0, 1, True, SHORTS)
    x = np.stack([np.full(8, 7), np.full(8, -(2**15)), [-(2**15), 2**15 - 1] * 4]).astype(np.int16)
    constants = [constant(operator, name, kind) for name, kind in operator.signature.constant_types]
    (outputs,) = run_all(target, [(operator, {"x": x})], *constants)
    same(outputs["y"], expected(operator, {"x": x}, constants))
