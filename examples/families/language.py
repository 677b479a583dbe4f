"""Text encoders with a pathway for each task: ids in, a vector or a score out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.families.family import LENGTH, WORDS, Family, words
from examples.families.parts import DIM, HIDDEN, Attention, Block, drawn, many


class Words(nn.Module):
    """Ids [1, T] to tokens [1, T, DIM]."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.position = nn.Embedding(WORDS, DIM), drawn(LENGTH, DIM, scale=0.3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids) + self.position


class HardExperts(nn.Module):
    """A gated MLP copied once for each domain; a sentence's domain picks its copy."""

    def __init__(self, domains: int) -> None:
        super().__init__()
        self.gate, self.up = (drawn(domains, DIM, HIDDEN, scale=DIM**-0.5) for _ in range(2))
        self.down = drawn(domains, HIDDEN, DIM, scale=HIDDEN**-0.5)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return (F.silu(x @ self.gate[domain]) * (x @ self.up[domain])) @ self.down[domain]


class TextEmbedder(nn.Module):
    """MoE for vector embeddings: the id of a sentence's domain picks one expert in every layer; a unit vector out."""

    def __init__(self, domains: int = 5, layers: int = 2) -> None:
        super().__init__()
        self.words, self.attention = Words(), many(layers, Attention)
        self.norms, self.experts = (
            many(2 * layers, lambda: nn.LayerNorm(DIM)),
            many(layers, lambda: HardExperts(domains)),
        )

    def forward(self, ids: Tensor, task_id: Tensor) -> Tensor:
        x = self.words(ids)
        for layer, experts in enumerate(self.experts):
            x = x + self.attention[layer](self.norms[2 * layer](x))
            x = x + experts(self.norms[2 * layer + 1](x), task_id)
        return F.normalize(x.mean(1), dim=-1)


def sentence_of_domain() -> dict[str, Tensor]:
    """A sentence and its domain."""
    return words() | {"task_id": torch.tensor(1)}


class RewardModel(nn.Module):
    """DMoERM's inner mixture: one base runs once for each low-rank capability, and their last states are mixed.

    Each output is the reward of one category, whose capabilities and mixing layers are its own.
    """

    def __init__(self, categories: int = 2, capabilities: int = 3, rank: int = 8) -> None:
        super().__init__()
        self.words, self.block, self.norm, self.base = Words(), Block(), nn.LayerNorm(DIM), nn.Linear(DIM, DIM)
        self.down = drawn(categories, capabilities, DIM, rank, scale=DIM**-0.5)
        self.up = drawn(categories, capabilities, rank, DIM, scale=0.3)
        mixing = lambda: nn.Sequential(nn.Linear(capabilities * DIM, 64), nn.PReLU(), nn.Linear(64, 1))  # noqa: E731
        self.mix = many(categories, mixing)

    def reward(self, tokens: Tensor, category: int) -> Tensor:
        states = []
        for down, up in zip(self.down[category], self.up[category], strict=True):
            adapted = tokens + F.gelu(self.base(tokens) + tokens @ down @ up)
            states.append(self.norm(self.block(adapted))[:, -1])
        return self.mix[category](torch.cat(states, -1))

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        tokens = self.words(ids)
        return tuple(self.reward(tokens, category) for category in range(len(self.mix)))


FAMILIES = (
    Family(
        "text_embeddings",
        "MoE text embeddings",
        "an id picks one expert per layer",
        TextEmbedder,
        sentence_of_domain,
        ("vector",),
    ),
    Family(
        "dmoerm", "DMoERM", "capabilities of a category: low-rank passes", RewardModel, words, ("helpful", "harmless")
    ),
)
