"""Experts and their combination against a loop over slots."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import Combine, Experts
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import combine, experts
from tests.tvm_bridge.harness import close, normal, on_targets, run, targets

GAP = 48  # float32 elements between experts: they need not lie side by side


def pack(spec: Experts, target: CpuTarget, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weights section that holds the experts in reverse order, and the table of their places."""
    tensors = [experts.pack_expert(spec, target, w[e], b[e]) for e in range(spec.slots)]
    step = -(-tensors[0].size // 16) * 16 + GAP
    section = np.full(step * spec.slots, np.nan, np.float32)
    table = np.arange(spec.slots, dtype=np.int32)[::-1] * step
    for start, tensor in zip(table, tensors, strict=True):
        section[start : start + tensor.size] = tensor
    return section, np.ascontiguousarray(table)


def check(spec: Experts, target: CpuTarget, counts: list[int]) -> None:
    rows = spec.tokens * spec.top_k
    w, b = normal(spec.slots, spec.k, spec.n), normal(spec.slots, spec.n)
    x = normal(spec.tokens if spec.gather else rows, spec.k)
    tokens = np.random.default_rng(0).permutation(np.arange(rows, dtype=np.int32) // spec.top_k)
    section, table = pack(spec, target, w, b)
    offsets = np.cumsum([0, *counts]).astype(np.int32)
    held = {"tokens": tokens, "offsets": offsets, "table": table, "weights": section}
    y = run(experts.build(spec, target), target, x=x, **held)["y"]
    expert = np.repeat(np.arange(spec.slots), counts)
    source = x[tokens] if spec.gather else x
    expected = torch.from_numpy(np.stack([s.astype(float) @ w[e] + b[e] for s, e in zip(source, expert, strict=True)]))
    close(y, (torch.nn.functional.gelu(expected) if spec.activation else expected).numpy())


@st.composite
def cases(draw: st.DrawFn) -> tuple[Experts, list[int]]:
    tokens, k, slots = draw(st.integers(1, 30)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    edges = sorted(draw(st.lists(st.integers(0, tokens * k), min_size=slots - 1, max_size=slots - 1)))
    counts = np.diff([0, *edges, tokens * k]).tolist()
    depth, n, gather = draw(st.integers(1, 40)), draw(st.integers(1, 200)), draw(st.booleans())
    return Experts(tokens, k, slots, depth, n, gather, draw(st.sampled_from(["", "gelu"]))), counts


@given(cases(), st.sampled_from(targets(1) + targets(2) + targets(3)))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_size(case: tuple[Experts, list[int]], target: CpuTarget) -> None:
    check(case[0], target, case[1])


@on_targets()
@pytest.mark.parametrize("counts", [[0, 14, 0], [14, 0, 0], [0, 0, 14], [1, 1, 12], [7, 0, 7]], ids=str)
def test_experts_with_no_tokens_one_and_all(counts: list[int], target: CpuTarget) -> None:
    check(Experts(14, 1, 3, 20, 96, True, "gelu"), target, counts)


@given(
    st.builds(
        Combine,
        tokens=st.integers(1, 9),
        top_k=st.integers(1, 4),
        dim=st.integers(1, 150),
        residual=st.booleans(),
    ),
    st.sampled_from(targets(1) + targets(2)),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_combine(spec: Combine, target: CpuTarget) -> None:
    x, weights = normal(spec.tokens * spec.top_k, spec.dim), normal(spec.tokens, spec.top_k)
    slots = np.random.default_rng(0).permutation(spec.tokens * spec.top_k).astype(np.int32)
    slots = slots.reshape(spec.tokens, spec.top_k)
    added = {"residual": normal(spec.tokens, spec.dim)} if spec.residual else {}
    y = run(combine.build(spec, target), target, x=x, weights=weights, slots=slots, **added)["y"]
    close(y, (weights[:, :, None].astype(float) * x[slots]).sum(1) + added.get("residual", 0.0))
