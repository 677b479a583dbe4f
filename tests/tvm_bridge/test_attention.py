"""Attention against float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import Attention
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import attention
from tests.tvm_bridge.harness import close, normal, on_targets, run, targets


def check(spec: Attention, target: CpuTarget, factor: float = 1.0, tolerance: float = 2e-5) -> None:
    qkv = normal(spec.tokens, 3 * spec.heads * spec.head_dim) * np.float32(factor)
    y = run(attention.build(spec, target), target, qkv=qkv)["y"]
    wide = torch.from_numpy(qkv.astype(float)).view(spec.tokens, 3, spec.heads, spec.head_dim)
    q, k, v = wide.permute(1, 2, 0, 3)
    weights = (q @ k.transpose(1, 2) * spec.scale).softmax(-1)
    close(y, (weights @ v).transpose(0, 1).reshape(y.shape).numpy(), tolerance)


@given(
    st.builds(
        Attention,
        tokens=st.integers(1, 70),
        heads=st.integers(1, 3),
        head_dim=st.integers(1, 70),
        scale=st.sampled_from([0.125, 1.0, -0.3]),
    ),
    st.sampled_from(targets(1) + targets(2) + targets(3)),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_size(spec: Attention, target: CpuTarget) -> None:
    check(spec, target, tolerance=5e-5)


@on_targets()
@pytest.mark.parametrize(
    "spec",
    [Attention(129, 3, 64, 0.125), Attention(192, 3, 32, 0.17), Attention(2100, 1, 16, 0.25)],
    ids=str,
)
def test_sizes_of_models(spec: Attention, target: CpuTarget) -> None:
    check(spec, target)


def test_large_scores_give_no_nan() -> None:
    for target in targets():
        check(Attention(17, 2, 8, 1.0), target, factor=1e3, tolerance=1e-3)
