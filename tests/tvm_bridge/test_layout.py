"""Copies between strided views against numpy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import Copy
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.kernels import copy
from edgemtl.tvm_bridge.kernels.copy import CopyAxis, merged_axes
from tests.tvm_bridge.harness import normal, on_targets, run


def strides_of(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of an array of ``shape`` whose memory runs through the axes in ``order``."""
    strides = dict.fromkeys(order, 0)
    for index, axis in enumerate(order):
        strides[axis] = math.prod(shape[a] for a in order[index + 1 :])
    return tuple(strides[axis] for axis in range(len(shape)))


def check(spec: Copy, target: CpuTarget) -> None:
    """Every element arrives, and what the target's strides leave out is not touched."""
    kernel = copy.build(spec, target)
    x = normal(*kernel.operands[0].shape)
    y = run(kernel, target, x=x)["y"]
    source, goal = (
        np.lib.stride_tricks.as_strided(a, spec.shape, tuple(4 * s for s in strides))
        for a, strides in ((x, spec.source_strides), (y, spec.target_strides))
    )
    np.testing.assert_array_equal(goal, source)
    written = np.zeros(y.shape, bool)
    np.lib.stride_tricks.as_strided(written, spec.shape, spec.target_strides)[...] = True
    assert np.isnan(y[~written]).all()


CASES = {
    "planes to pixels": Copy((1, 3, 24, 32), (2304, 768, 32, 1), (2304, 1, 96, 3)),
    "pixels to planes": Copy((24, 40, 19), (760, 19, 1), (40, 1, 960)),
    "wide tiles": Copy((33, 50), (1, 33), (50, 1)),
    "rows with gaps": Copy((5, 37), (40, 1), (64, 1)),
    "every second value": Copy((4, 6), (14, 2), (6, 1)),
    "to every second value": Copy((4, 6), (6, 1), (14, 2)),
    "a row repeated": Copy((4, 6), (0, 1), (6, 1)),
    "one value": Copy((1, 1), (1, 1), (1, 1)),
    "no axes": Copy((), (), ()),
    "batches transposed": Copy((3, 8, 8, 2), (128, 16, 2, 1), (128, 1, 16, 8)),
}


@on_targets()
@pytest.mark.parametrize("spec", CASES.values(), ids=CASES.keys())
def test_copies(spec: Copy, target: CpuTarget) -> None:
    check(spec, target)


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_copies_between_any_two_orders(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)))
    orders = st.permutations(range(len(shape)))
    spec = Copy(shape, *(strides_of(shape, tuple(data.draw(orders))) for _ in range(2)))
    check(spec, resolve("cpu", data.draw(st.integers(1, 4))))


def test_neighbouring_axes_become_one() -> None:
    spec = Copy((2, 3, 4, 5), (60, 20, 5, 1), (60, 1, 15, 3))
    assert merged_axes(spec) == [CopyAxis(2, 60, 60), CopyAxis(20, 1, 3), CopyAxis(3, 20, 1)]
