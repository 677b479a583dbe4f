"""Integer LayerNorm against the law."""

import numpy as np
import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.hw import law
from edgemtl.operators import QLayerNorm
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import qlayernorm
from tests.support.processors import on_each
from tests.tvm_bridge.integers import ends, host_targets, integers, run_all, same

TARGETS = on_each(host_targets())
HALVINGS, OFFSET = integers("int8", 1024, low=0, high=7), integers("int8", 1024)


def adversarial(rows: int, dim: int) -> np.ndarray:
    """Ordinary rows behind ones with an outlier, ones of equal values and ones whose mean is far above their spread."""
    x = integers("int16", rows, dim, low=-3000, high=3000)
    x[:6] = np.array([-(2**15), 2**15 - 1, 0, 5, 2**15 - 1, -(2**15)])[:, None]
    x[2, 0] = x[5, ::2] = 2**15 - 1
    x[4, -1] = -(2**15)
    x[6] = 32000 + integers("int16", dim, low=0, high=2)
    x[7] = integers("int16", dim, low=-1, high=1)
    x[8] = 0
    x[8, -1] = 1
    return x


def check(target: CpuTarget, dim: int, specs: list[QLayerNorm], x: np.ndarray, most: int = 7) -> None:
    halvings, offset = np.minimum(HALVINGS[:dim], most), OFFSET[:dim]
    found = run_all(target, [(spec, {"x": x}) for spec in specs], halvings, offset)
    for spec, outputs in zip(specs, found, strict=True):
        same(outputs["y"], law.layer_norm(x, spec.epsilon, spec.mul, spec.shift, halvings, offset, spec.wide))


@TARGETS
@pytest.mark.parametrize("dim", [1, 5, 70, 192, 1024])
def test_any_width(target: CpuTarget, dim: int) -> None:
    # 32 and 0.9 over the standard deviation, a large epsilon, and nothing left of any value.
    scales = [(1, 131071, 12), (1, 117965, 17), (10**6, 70000, 13), (7, 65536, 28)]
    specs = [QLayerNorm(21, dim, *scale) for scale in scales]
    check(target, dim, specs, adversarial(21, dim))


@TARGETS
@pytest.mark.parametrize("dim", [5, 70, 192, 1024])
def test_twelve_bits(target: CpuTarget, dim: int) -> None:
    # An epsilon that leaves the shift, 256 and 2000 over the standard deviation: the last saturates.
    scales = [(4**9, 131071, 9), (4**11, 120000, 6)]
    check(target, dim, [QLayerNorm(21, dim, *scale, wide=True) for scale in scales], adversarial(21, dim), 3)


@on_each([*ends(1), *ends(3)])
def test_threads_change_no_bit(target: CpuTarget) -> None:
    check(target, 40, [QLayerNorm(25, 40, 3, 100000, 12)], adversarial(25, 40))


def test_a_shift_that_leaves_no_bits_is_refused() -> None:
    spec = QLayerNorm(1, 192, 1, 100000, 6)
    with pytest.raises(UnsupportedError, match="its shift must be larger than 6"):
        qlayernorm.build(spec, host_targets()[0])
