"""Layer normalisation against float64."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgemtl.operators import LayerNorm
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import layernorm
from tests.tvm_bridge.harness import close, normal, run, targets


def expected(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float) -> np.ndarray:
    x = x.astype(float)
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + epsilon) * scale + shift


@given(
    st.builds(
        LayerNorm,
        rows=st.integers(1, 9),
        dim=st.integers(1, 200),
        epsilon=st.sampled_from([1e-5, 1e-6, 0.5]),
    ),
    st.sampled_from(targets(1) + targets(2)),
)
@example(LayerNorm(129, 192, 1e-6), targets()[0])
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_size(spec: LayerNorm, target: CpuTarget) -> None:
    x, scale, shift = normal(spec.rows, spec.dim) + 30, normal(spec.dim), normal(spec.dim, seed=1)
    held = layernorm.pack(spec, target, scale, shift)
    y = run(layernorm.build(spec, target), target, x=x, scale=held[0], shift=held[1])["y"]
    close(y, expected(x, scale, shift, spec.epsilon), 2e-4)
