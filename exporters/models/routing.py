"""Which experts a token goes to, and with what weight (M3ViT, arXiv 2210.14793; V-MoE, arXiv 2106.05974)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Window = tuple[int, int]


def columns(window: Window | None) -> slice:
    """Columns of the experts a window (first expert, number of experts) leaves open; without one, all."""
    return slice(None) if window is None else slice(window[0], window[0] + window[1])


def route(
    logits: Tensor, k: int, threshold: float, window: Window | None = None, normalize: bool = False
) -> tuple[Tensor, Tensor]:
    """Scores and indices [T, k] of the experts of each token, best first, from its gate logits [T, E].

    Softmax over all logits (those of the window's experts, where there is a window: first expert, count),
    then the k largest, equal ones in order of index. Only if `normalize` are they divided by their sum; those
    below `threshold` become 0. Scores are float32; indices int64, from expert 0 whatever the window.
    """
    probabilities = logits[:, columns(window)].float().softmax(-1)
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    scores, experts = ranked[:, :k], order[:, :k]
    if normalize:
        scores = scores / scores.sum(-1, keepdim=True)
    if threshold > 0:
        scores = scores.masked_fill(scores < threshold, 0.0)
    return scores, experts if window is None else experts + window[0]


class GateLosses(NamedTuple):
    """What training asks of the gates beside the tasks themselves; scalars, summed over layers by the model.

    balance: experts are used evenly over all tasks together (see `balance`).
    information: nats by which what an expert's use tells about the task is off (see `wrong_information`).
    margin: how far the k-th logit is from a clear lead over the next (see `missing_margin`).
    size: mean squared log-sum-exp of the logits, which keeps them from drifting (ST-MoE, arXiv 2202.08906).
    """

    balance: Tensor
    information: Tensor
    margin: Tensor
    size: Tensor


def balance(logits: Tensor, noisy: Tensor, k: int, noise_std: float) -> Tensor:
    """V-MoE's balance loss: half importance, half load (arXiv 2106.05974, appendix A).

    logits, noisy: gate logits [T, E] without and with noise, of the tokens of all tasks that share the experts:
    taken task by task it would forbid experts that serve some tasks only.
    """
    logits, noisy = logits.float(), noisy.float()
    kth = noisy.detach().topk(k, dim=-1).values[:, -1:]
    load = torch.special.ndtr((logits - kth) / noise_std)
    return 0.5 * (_cv_squared(logits.softmax(-1).sum(0)) + _cv_squared(load.sum(0)))


def wrong_information(logits: Sequence[Tensor], k: int, target_nats: float) -> Tensor:
    """How far the mutual information of task and expert lies from ``wanted_nats``, on either side.

    logits: gate logits [T, E] of each task, tasks equally likely; an expert is used as much as its probability says
    where it is among a token's k. log 2 nats are what tasks have that use a half of the experts each, every expert
    being used alike. The measure is Mod-Squad's (arXiv 2212.08066, section 3.3).
    """
    use = torch.stack([_use(z.float(), k) for z in logits])
    return (target_nats - (_entropy(use.mean(0)) - _entropy(use).mean())).abs()


def missing_margin(logits: Tensor, k: int, target: float) -> Tensor:
    """Mean over tokens of how much the k-th largest logit's lead over the next falls short of ``wanted``.

    logits: [T, E]. A lead that rounding cannot overturn makes choices the same in every precision.
    """
    if k == logits.shape[-1]:
        return logits.new_zeros(())
    top = logits.float().topk(k + 1, dim=-1).values
    return (target - (top[:, -2] - top[:, -1])).clamp(min=0).mean()


def logits_size(logits: Tensor) -> Tensor:
    """Mean over tokens [T, E] of the squared log-sum-exp of the logits."""
    return logits.float().logsumexp(-1).square().mean()


def _use(logits: Tensor, k: int) -> Tensor:
    """The share [E] of each expert in what the tokens [T, E] choose, by probability."""
    chosen = logits >= logits.topk(k, dim=-1).values[:, -1:]
    use = (logits.softmax(-1) * chosen).sum(0)
    return use / use.sum()


def _entropy(probabilities: Tensor) -> Tensor:
    # The slope of -p log p is infinite at 0.
    entropy: Tensor = torch.special.entr(probabilities.clamp(min=1e-6))
    return entropy.sum(-1)


def _cv_squared(x: Tensor) -> Tensor:
    """Squared coefficient of variation."""
    return x.var(unbiased=False) / (x.mean() ** 2 + 1e-10)
