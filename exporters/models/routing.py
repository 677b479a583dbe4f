"""Which experts a token goes to, and with what weight (M3ViT, arXiv 2210.14793; V-MoE, arXiv 2106.05974)."""

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


def balance(logits: Tensor, noisy: Tensor, k: int, noise_std: float) -> Tensor:
    """V-MoE's balance loss of one task: half importance, half load (arXiv 2106.05974, appendix A).

    logits, noisy: gate logits [T, E] without and with noise, over the experts open to the task.
    """
    logits, noisy = logits.float(), noisy.float()
    kth = noisy.detach().topk(k, dim=-1).values[:, -1:]
    load = torch.special.ndtr((logits - kth) / noise_std)
    return 0.5 * (_cv_squared(logits.softmax(-1).sum(0)) + _cv_squared(load.sum(0)))


def _cv_squared(x: Tensor) -> Tensor:
    """Squared coefficient of variation."""
    return x.var(unbiased=False) / (x.mean() ** 2 + 1e-10)
