"""Routing and experts against a loop over tokens; the same choices under ties, windows and pruning."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.exporters.models.moe import ACTIVATIONS, moe_forward
from edgemtl.exporters.models.routing import route
from tests.exporters import numpy_model

NUMPY_ACTIVATIONS = {
    "gelu": numpy_model.gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@st.composite
def routings(draw):
    experts = draw(st.integers(1, 12))
    size = draw(st.integers(1, experts))
    window = draw(st.sampled_from([None, (draw(st.integers(0, experts - size)), size)]))
    k = draw(st.integers(1, size if window else experts))
    # Few values, so that ties are common; whole numbers, so that float32 keeps them ties and nothing else.
    rows = draw(st.integers(1, 20))
    values = st.lists(st.integers(-2, 2), min_size=experts, max_size=experts)
    logits = draw(st.lists(values, min_size=rows, max_size=rows))
    threshold = draw(st.sampled_from([0.0, 0.07, 0.21, 0.5]))
    return np.array(logits, np.float32), k, threshold, window, draw(st.booleans())


@given(routings())
@settings(max_examples=200, deadline=None)
def test_route_equals_a_sort_per_token(case):
    logits, k, threshold, window, normalize = case
    scores, experts = route(torch.from_numpy(logits), k, threshold, window, normalize)
    assert scores.dtype == torch.float32
    assert experts.dtype == torch.int64
    for t, row in enumerate(logits):
        expected = numpy_model.choose(row, k, threshold, window, normalize)
        assert experts[t].tolist() == [e for e, _ in expected]
        near = [abs(s - threshold) < 1e-6 for _, s in numpy_model.choose(row, k, 0.0, window, normalize)]
        for found, (_, score), unsure in zip(scores[t].tolist(), expected, near, strict=True):
            assert unsure or found == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("count", [8, 16, 64, 200])
def test_equal_logits_go_to_the_lowest_indices(count):
    scores, experts = route(torch.zeros(300, count), 3, 0.0)
    assert (experts == torch.arange(3)).all()
    assert torch.allclose(scores, torch.tensor(1 / count))


def test_selected_scores_are_not_renormalised():
    scores, _ = route(torch.tensor([[2.0, 1.0, 0.0]]), 2, 0.0)
    assert scores.sum() < 0.95


def test_a_score_at_the_threshold_stays():
    assert route(torch.zeros(1, 2), 1, 0.5)[0].item() == 0.5
    assert route(torch.zeros(1, 2), 1, 0.5001)[0].item() == 0


@given(
    tokens=st.integers(0, 70),
    experts=st.integers(1, 9),
    k=st.integers(1, 4),
    activation=st.sampled_from(sorted(NUMPY_ACTIVATIONS)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_experts_equal_a_loop_per_token(tokens, experts, k, activation, seed):
    k = min(k, experts)
    rng = np.random.default_rng(seed)
    shapes = (tokens, 6), (tokens, experts), (experts, 6, 8), (experts, 8), (experts, 8, 6), (experts, 6)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    arrays[1] *= 3  # a decided gate: some experts get nothing
    found = moe_forward(*map(torch.from_numpy, arrays), k, 0.1, None, activation=activation)
    act = NUMPY_ACTIVATIONS[activation]
    near = np.abs(np.exp(arrays[1]) / np.exp(arrays[1]).sum(1, keepdims=True) - 0.1).min(1, initial=1) < 1e-5
    expected = numpy_model.mix(*(a.astype(np.float64) for a in arrays), k, 0.1, act=act)
    np.testing.assert_allclose(found[~near], expected[~near], atol=1e-4)


def test_every_activation_is_tested():
    assert set(ACTIVATIONS) == set(NUMPY_ACTIVATIONS)


def test_many_tokens_and_idle_experts():
    """Rows of an expert are padded; neither the padding nor an idle expert shows."""
    rng = np.random.default_rng(0)
    x, logits = rng.standard_normal((2000, 6)), rng.standard_normal((2000, 4))
    logits[:, 1] = -30
    weights = [rng.standard_normal(shape) for shape in ((4, 6, 8), (4, 8), (4, 8, 6), (4, 6))]
    weights[2][1] = np.nan
    found = moe_forward(*(torch.from_numpy(a) for a in (x, logits, *weights)), 2, 0.0, None)
    np.testing.assert_allclose(found, numpy_model.mix(x, logits, *weights, 2), atol=1e-6)


def test_gradients_equal_those_of_the_dense_form():
    """All experts on all tokens, weighted by the scattered scores, differentiated by torch."""
    torch.manual_seed(0)
    shapes = (40, 6), (40, 5), (5, 6, 8), (5, 8), (5, 8, 6), (5, 6)
    leaves = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    x, logits, w1, b1, w2, b2 = leaves
    probabilities = logits.softmax(-1)
    top = probabilities.topk(2, -1).indices
    weight = torch.zeros_like(logits).scatter(1, top, probabilities.gather(1, top))
    hidden = torch.nn.functional.gelu(torch.einsum("td,edh->teh", x, w1) + b1)
    dense = torch.einsum("teh,ehd,te->td", hidden, w2, weight) + weight @ b2
    along = torch.randn(40, 6, dtype=torch.float64)
    expected = torch.autograd.grad((dense * along).sum(), leaves)
    found = torch.autograd.grad((moe_forward(*leaves, 2, 0.0, None) * along).sum(), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
