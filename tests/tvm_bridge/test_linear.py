"""The linear kernel against float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import Linear
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import linear
from tests.tvm_bridge.harness import close, normal, on_targets, run, targets

ACTIVATIONS = {
    "": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu6": torch.nn.functional.relu6,
    "hard_sigmoid": torch.nn.functional.hardsigmoid,
    "hard_swish": torch.nn.functional.hardswish,
}


def check(spec: Linear, target: CpuTarget, factor: float = 1.0) -> None:
    x, w, b = normal(spec.rows, spec.k) * np.float32(factor), normal(spec.k, spec.n), normal(spec.n)
    weight, bias = linear.pack(spec, target, w, b)
    added = {"residual": normal(spec.rows, spec.n, seed=1)} if spec.residual else {}
    y = run(linear.build(spec, target), target, x=x, weight=weight, bias=bias, **added)["y"]
    expected = ACTIVATIONS[spec.activation](torch.from_numpy(x.astype(float) @ w + b)).numpy()
    close(y, expected + added.get("residual", 0.0))


@given(
    st.builds(
        Linear,
        rows=st.integers(1, 40),
        k=st.integers(1, 70),
        n=st.integers(1, 150),
        activation=st.sampled_from(list(ACTIVATIONS)),
        residual=st.booleans(),
    ),
    st.sampled_from(targets(1) + targets(2) + targets(3)),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_size(spec: Linear, target: CpuTarget) -> None:
    check(spec, target)


@on_targets()
@pytest.mark.parametrize(
    "spec",
    [
        Linear(129, 192, 576, "", False),
        Linear(1, 1, 1, "gelu", True),
        Linear(9, 3, 21, "gelu", True),
    ],
    ids=str,
)
def test_sizes_of_models(spec: Linear, target: CpuTarget) -> None:
    check(spec, target)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_extreme_values(activation: str) -> None:
    for target in targets():
        check(Linear(4, 5, 33, activation, False), target, factor=1e4)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name])
def test_what_is_not_a_number_stays_so(activation: str) -> None:
    x, weight = np.array([[np.nan], [1.0]], np.float32), np.ones((1, 5), np.float32)
    spec, target = Linear(2, 1, 5, activation, False), targets()[0]
    packed = dict(zip(("weight", "bias"), linear.pack(spec, target, weight, np.zeros(5, np.float32)), strict=True))
    y = run(linear.build(spec, target), target, x=x, **packed)["y"]
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()
