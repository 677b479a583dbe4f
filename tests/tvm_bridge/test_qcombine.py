"""Combination of integer expert outputs against the law."""

import numpy as np
import pytest

from edgemtl.hw import law
from edgemtl.operators import QCombine
from edgemtl.processor import CpuTarget
from tests.support.processors import on_each
from tests.tvm_bridge.integers import host_targets, integers, run_all, same, widest

SPECS = [QCombine(9, 3, 100, True), QCombine(9, 1, 7, False), QCombine(5, 8, 192, True)]


def operands(spec: QCombine) -> dict[str, np.ndarray]:
    slots = spec.tokens * spec.top_k
    x = integers("int16", slots, spec.dim)
    x[:: spec.top_k + 1] = -(2**15)
    weights = integers("int32", spec.tokens, spec.top_k, low=0, high=2**15 // spec.top_k)
    order = np.random.default_rng(0).permutation(slots).astype(np.int32).reshape(spec.tokens, spec.top_k)
    # The largest weights that rounding leaves and results at both ends: a residual brings sums back into 16 bits.
    weights[:4] = 0
    weights[:4, 0] = 2**15
    weights[:4, 1 : 1 + spec.top_k // 2] = 1
    x[order[:2]], x[order[2:4]] = -(2**15), 2**15 - 1
    arrays = {"x": x, "weights": weights, "slots": order}
    if not spec.residual:
        return arrays
    residual = integers("int16", spec.tokens, spec.dim)
    residual[1], residual[3] = -(2**15), 2**15 - 1
    return arrays | {"residual": residual}


def check(target: CpuTarget) -> None:
    work = [(spec, operands(spec)) for spec in SPECS]
    for (_, arrays), outputs in zip(work, run_all(target, work), strict=True):
        same(outputs["y"], law.combine(arrays["x"], arrays["weights"], arrays["slots"], arrays.get("residual")))


@on_each(host_targets())
def test_any_size(target: CpuTarget) -> None:
    check(target)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(threads: int) -> None:
    check(widest(threads))
