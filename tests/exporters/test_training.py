"""What training adds: noise on the gates, the balance loss, counts of tokens per expert."""

import math

import numpy as np
import pytest
import torch

from edgemtl.exporters.models.moe import TARGET_MARGIN, TARGET_NATS
from edgemtl.exporters.models.routing import (
    GateLosses,
    balance,
    logits_size,
    missing_margin,
    wrong_information,
)
from tests.exporters.numpy_model import choose, softmax
from tests.exporters.small import images, small_model


def cv_squared(values):
    return np.var(values) / np.mean(values) ** 2


def numpy_balance(logits, noisy, k, std):
    """V-MoE, appendix A: importance sums the clean probabilities, load those of staying in the top k."""
    importance = sum(softmax(row) for row in logits)
    load = np.zeros(logits.shape[1])
    for row, other in zip(logits, noisy, strict=True):
        kth = sorted(other)[-k]
        load += [1 - 0.5 * (1 + math.erf((kth - value) / std / math.sqrt(2))) for value in row]
    return 0.5 * (cv_squared(importance) + cv_squared(load))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_balance_loss_equals_its_formula(k):
    rng = np.random.default_rng(k)
    logits = rng.standard_normal((30, 5))
    noisy = logits + rng.standard_normal((30, 5)) / 5
    found = balance(torch.from_numpy(logits), torch.from_numpy(noisy), k, 1 / 5)
    assert float(found) == pytest.approx(numpy_balance(logits, noisy, k, 1 / 5), rel=1e-4)


def test_balance_loss_of_even_gates_is_nothing():
    assert float(balance(torch.zeros(9, 4), torch.zeros(9, 4), 2, 0.25)) == pytest.approx(0)


@pytest.mark.parametrize(("overrides", "calls"), [({}, 1), (dict(routing="window", experts_per_task=3), 3)])
def test_balance_is_over_all_tasks_together_or_within_each_window_and_summed_over_layers(overrides, calls, monkeypatch):
    model = small_model(**overrides).train()
    seen = []

    def spy(logits, noisy, k, std):
        seen.append(balance(logits, noisy, k, std))
        assert noisy.shape == logits.shape == (4 * 7 * (1 if overrides else 3), 3 if overrides else 5)
        assert (noisy - logits).std().item() == pytest.approx(std, rel=0.4)
        return seen[-1]

    monkeypatch.setattr("edgemtl.exporters.models.moe.balance", spy)
    model.forward_all(images(model.config, 4))
    assert len(seen) == 2 * calls
    assert model.gate_losses().balance.item() == pytest.approx(sum(loss.item() for loss in seen) / calls, rel=1e-5)


def test_information_is_that_of_task_and_expert_among_the_chosen():
    """Two tasks with experts of their own know log 2 nats; two that choose alike know nothing."""
    apart = [torch.tensor([[5.0, 4.0, 0.0, -1.0]] * 6), torch.tensor([[-1.0, 0.0, 4.0, 5.0]] * 6)]
    assert float(wrong_information(apart, 2, 1.0)) == pytest.approx(1 - math.log(2), abs=1e-4)
    assert float(wrong_information(apart, 2, 0.5)) == pytest.approx(math.log(2) - 0.5, abs=1e-4)
    assert float(wrong_information([apart[0], apart[0]], 2, 1.0)) == pytest.approx(1.0, abs=1e-4)


def test_information_pulls_apart_tasks_that_choose_alike_and_never_gives_nan():
    logits = [torch.full((5, 4), -200.0), torch.randn(5, 4)]
    leaves = [z.requires_grad_() for z in logits]
    wrong_information(leaves, 2, 1.0).backward()
    assert all(bool(leaf.grad.isfinite().all()) for leaf in leaves)
    assert bool(leaves[1].grad.any())


def test_margin_is_what_the_kth_logit_lacks_of_its_lead():
    logits = torch.tensor([[3.0, 2.0, 1.9, 0.0], [3.0, 2.0, 1.0, 0.0]])
    assert float(missing_margin(logits, 2, 0.5)) == pytest.approx((0.4 + 0.0) / 2, abs=1e-6)
    assert float(missing_margin(logits, 4, 0.5)) == 0


def test_size_is_the_mean_squared_log_sum_exp():
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    expected = (math.log(2) ** 2 + (1 + math.log(2)) ** 2) / 2
    assert float(logits_size(logits)) == pytest.approx(expected, rel=1e-6)


def test_the_losses_of_a_pass_are_those_of_its_logits(monkeypatch):
    model = small_model().train()
    wanted = []

    def spy(logits, k, nats):
        assert (len(logits), k, nats) == (3, 2, TARGET_NATS)
        together = torch.cat(list(logits))
        wanted.append((missing_margin(together, k, TARGET_MARGIN).item(), logits_size(together).item()))
        return wrong_information(logits, k, nats)

    monkeypatch.setattr("edgemtl.exporters.models.moe.wrong_information", spy)
    model.forward_all(images(model.config, 4))
    losses = model.gate_losses()
    assert losses.margin.item() == pytest.approx(sum(margin for margin, _ in wanted), rel=1e-5)
    assert losses.size.item() == pytest.approx(sum(size for _, size in wanted), rel=1e-5)


def test_gate_losses_of_a_dense_model_and_before_any_pass():
    for model in (small_model(moe_blocks=()), small_model()):
        losses = model.gate_losses()
        assert isinstance(losses, GateLosses)
        assert [float(loss) for loss in losses] == [0, 0, 0, 0]


@torch.no_grad()
def test_noise_in_training_only():
    model = small_model()
    batch = images(model.config)
    assert torch.equal(model(batch, "depth"), model(batch, "depth"))
    for module in model.modules():
        module.training = hasattr(module, "counting")
    assert not torch.equal(model(batch, "depth"), model(batch, "depth"))


@pytest.mark.parametrize("routing", [{}, dict(routing="task_conditioned", task_embedding=6)], ids=["gates", "task"])
def test_every_parameter_learns(routing):
    model = small_model(**routing).train()
    out = model.forward_all(images(model.config, 4))
    loss = sum(map_.square().mean() for map_ in out.values()) + sum(model.gate_losses())
    loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    # A bias before a normalisation moves nothing.
    assert [name for name in still if not name.endswith(("conv_0.bias", "conv_1.bias"))] == []


@torch.no_grad()
def test_counts_of_tokens_per_task_and_expert():
    model = small_model(expert_prune=0.2)
    batch, logits = images(model.config, 2), {}
    original = [layer.compute for layer in model.moe_layers()]
    for i, (layer, compute) in enumerate(zip(model.moe_layers(), original, strict=True)):
        layer.compute = lambda x, z, *rest, i=i, compute=compute: (
            logits.update({i: z}),
            compute(x, z, *rest),
        )[1]
    with model.recording():
        model.forward_all(batch)
    counts = model.expert_counts()
    expected = np.zeros((2, 3, 5), int)
    for i, z in logits.items():
        for task, rows in enumerate(z.chunk(3)):
            for row in rows:
                for expert, _ in choose(row.numpy(), 2):
                    expected[i, task, expert] += 1
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum(-1).unique().tolist() == [2 * 7 * 2]


@torch.no_grad()
def test_counting_starts_from_zero_and_stops():
    model = small_model()
    batch = images(model.config)
    assert model.expert_counts().sum() == 0
    for _ in range(2):
        with model.recording():
            model(batch, "depth")
    model(batch, "depth")
    counts = model.expert_counts()
    assert counts[:, 1].sum() == counts.sum() == 2 * 7 * 2
    with pytest.raises(RuntimeError, match="stop"), model.recording():
        raise RuntimeError("stop")
    model(batch, "depth")
    assert model.expert_counts().sum() == 0
    assert small_model(moe_blocks=()).expert_counts().shape == (0, 3, 5)


@torch.no_grad()
def test_compute_is_a_seam():
    """Whatever stands in `compute` gets the arguments of `moe_forward` and its answer is used."""
    model = small_model(routing="window", experts_per_task=3, expert_prune=0.1)
    calls = []

    def stand_in(x, logits, w1, b1, w2, b2, k, threshold, window, normalize=False, activation="gelu"):
        calls.append((x.shape, logits.shape, w1.shape, w2.shape, k, threshold, window, normalize, activation))
        return torch.zeros_like(x)

    for layer in model.moe_layers():
        layer.compute = stand_in
    model(images(model.config), "normals")
    assert calls == [((7, 12), (7, 5), (5, 12, 9), (5, 9, 12), 2, 0.1, (2, 3), False, "gelu")] * 2
