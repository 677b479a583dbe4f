"""Bilinear resize against torch in double precision and onnxruntime's half_pixel rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import Resize
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.kernels import resize
from edgemtl.tvm_bridge.kernels.resize import source_places
from tests.tvm_bridge.harness import close, normal, on_targets, run

NAMES = ("rows", "row_weights", "columns", "column_weights")
CASES = (
    Resize(1, 1, 1, 1, 1),
    Resize(1, 7, 3, 4, 14),
    Resize(5, 3, 40, 10, 6),
    Resize(24, 32, 19, 48, 64),
    Resize(17, 31, 7, 40, 50),
    Resize(9, 12, 3, 4, 5, planar=False),
    Resize(12, 16, 96, 24, 32, planar=False),
)


def output(spec: Resize, target: CpuTarget) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the same in double precision."""
    x = normal(spec.height, spec.width, spec.channels)
    tables = dict(zip(NAMES, resize.pack(spec, target), strict=True))
    y = run(resize.build(spec, target), target, x=x.reshape(spec.height, -1), **tables)["y"]
    image = torch.from_numpy(x.astype(np.float64)).permute(2, 0, 1)[None]
    size = (spec.out_height, spec.out_width)
    planes = torch.nn.functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
    return y, (planes if spec.planar else planes[0].permute(1, 2, 0)).numpy()


@on_targets()
@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.height}x{s.width}x{s.channels}to{s.out_height}")
def test_matches_double_precision(spec: Resize, target: CpuTarget) -> None:
    close(*output(spec, target), tolerance=1e-6)


@settings(max_examples=6, deadline=None)
@given(
    st.builds(
        Resize,
        height=st.integers(1, 9),
        width=st.integers(1, 9),
        channels=st.integers(1, 35),
        out_height=st.integers(1, 20),
        out_width=st.integers(1, 40),
        planar=st.booleans(),
    ),
    st.integers(1, 4),
)
def test_any_size_matches(spec: Resize, threads: int) -> None:
    close(*output(spec, resolve("cpu", threads)), tolerance=2e-6)


def test_the_same_bits_for_any_number_of_parts() -> None:
    spec = Resize(7, 9, 19, 15, 18)
    first = output(spec, resolve("cpu", 1))[0].tobytes()
    assert all(output(spec, resolve("cpu", threads))[0].tobytes() == first for threads in (2, 3))


@pytest.mark.parametrize(("size", "out_size"), [(1, 5), (4, 8), (8, 4), (7, 3), (5, 5)])
def test_places_stay_inside(size: int, out_size: int) -> None:
    low, weights = source_places(size, out_size)
    assert low.min() >= 0
    assert low.max() <= max(size - 2, 0)
    assert (weights >= 0).all()
    assert (weights <= 1).all()
