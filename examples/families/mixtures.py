"""Vision transformers with mixtures of experts: a router decides for each token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.families.family import IMAGE, Family, picture
from examples.families.parts import (
    DIM,
    HIDDEN,
    Attention,
    Block,
    Experts,
    MapHead,
    Patches,
    gate,
    many,
    scatter_top,
)

CLASSES = (13, 1)
"""Output channels of the two dense tasks."""
DENSE = ("semseg", "depth")


class Mixture(nn.Module):
    """Experts for tokens [1, T, DIM]; subclasses decide the matrix of gates [1, T, E] of a task."""

    def __init__(self, experts: int = 8, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.experts = Experts(experts, hidden=hidden)

    def gates(self, tokens: Tensor, task: int) -> Tensor:
        raise NotImplementedError

    def forward(self, tokens: Tensor, task: int) -> Tensor:
        return self.experts(tokens, self.gates(tokens, task))


class TaskGates(Mixture):
    """M3ViT: a gate for each task, k experts of the softmax."""

    def __init__(self, tasks: int = 2, experts: int = 8, k: tuple[int, ...] = (2, 2)) -> None:
        super().__init__(experts)
        self.routers, self.k = many(tasks, lambda: gate(DIM, experts)), k

    def gates(self, tokens: Tensor, task: int) -> Tensor:
        return scatter_top(self.routers[task](tokens).softmax(-1), self.k[task])


class TaskEmbedding(Mixture):
    """M3ViT: one gate for all tasks, which reads the token beside an embedding of the task."""

    def __init__(self, tasks: int = 2, experts: int = 8, width: int = 32) -> None:
        super().__init__(experts)
        self.embed = nn.Sequential(nn.Linear(tasks, width), nn.ReLU(), nn.Linear(width, width))
        self.router, self.tasks = gate(DIM + width, experts), tasks

    def gates(self, tokens: Tensor, task: int) -> Tensor:
        hot = F.one_hot(torch.tensor([task]), self.tasks).float()
        embedded = self.embed(hot).expand(tokens.shape[1], -1)[None]
        return scatter_top(self.router(torch.cat([tokens, embedded], -1)).softmax(-1), 2)


class TaskWindow(Mixture):
    """M3ViT: one gate for all tasks, of whose experts each task sees a window."""

    def __init__(self, tasks: int = 2, experts: int = 8) -> None:
        super().__init__(experts)
        self.router, self.count, self.tasks = gate(DIM, experts), experts, tasks

    def gates(self, tokens: Tensor, task: int) -> Tensor:
        width = self.count // self.tasks
        scores = scatter_top(self.router(tokens)[..., task * width : (task + 1) * width].softmax(-1), 2)
        return F.pad(scores, (task * width, (self.tasks - 1 - task) * width))


class ModSquad(Mixture):
    """Mod-Squad: a router for each task and normalised gates; after training a task has kept a part of the experts."""

    live = ((0, 1, 2, 3, 6), (2, 4, 5, 6, 7))

    def __init__(self, experts: int = 8) -> None:
        super().__init__(experts)
        self.routers = many(2, lambda: gate(DIM, experts))
        pruned = torch.full((2, experts), -1e9)
        for task, experts_left in enumerate(self.live):
            pruned[task, list(experts_left)] = 0
        self.register_buffer("pruned", pruned)

    def gates(self, tokens: Tensor, task: int) -> Tensor:
        return scatter_top((self.routers[task](tokens) + self.pruned[task]).softmax(-1), 2, normalise=True)


class VisionMoE(Mixture):
    """V-MoE: experts have buffers; first choices fill them before second choices, and what does not fit is dropped."""

    def __init__(self, experts: int = 8, tasks: int = 2, k: int = 2, capacity: float = 1.05) -> None:
        super().__init__(experts)
        self.routers, self.k, self.count, self.capacity = many(tasks, lambda: gate(DIM, experts)), k, experts, capacity

    def gates(self, tokens: Tensor, task: int) -> Tensor:
        scores = self.routers[task](tokens).softmax(-1)
        buffer = round(tokens.shape[1] * self.k * self.capacity / self.count)
        chosen = scores.topk(self.k, -1)[1]
        filled = torch.zeros(1, 1, self.count)
        fits = torch.zeros_like(scores)
        for choice in range(self.k):
            hot = F.one_hot(chosen[..., choice], self.count).to(scores.dtype)
            place = hot.cumsum(1) + filled
            fits = fits + hot * (place <= buffer)
            filled = filled + hot.sum(1, keepdim=True)
        return scores * fits


class TwoTasks(nn.Module):
    """A plain block, a block with experts, and a head for each of two dense tasks."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.patches, self.plain, self.attention, self.mixture = Patches(IMAGE), Block(), Attention(), mixture
        self.norms = many(2, lambda: nn.LayerNorm(DIM))
        self.heads = nn.ModuleList([MapHead(DIM, channels) for channels in CLASSES])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(self.patches.to_map(self.encode(image, task))) for task, head in enumerate(self.heads))

    def encode(self, image: Tensor, task: int) -> Tensor:
        tokens = self.plain(self.patches(image))
        tokens = tokens + self.attention(self.norms[0](tokens))
        return tokens + self.mixture(self.norms[1](tokens), task)


class ModalityEncoder(nn.Module):
    """IMP: one encoder whose experts choose their tokens; each modality has its own embedding of patches.

    Alternating gradient descent trains one pair of modality and loss at a time, so an exported model has as many
    outputs as pairs; here image classification and classification of a spectrogram.
    """

    def __init__(self, experts: int = 8, capacity: int = 24) -> None:
        super().__init__()
        self.image, self.sound = Patches(IMAGE), Patches(IMAGE, channels=1)
        self.block, self.norm, self.experts, self.router = (
            Block(),
            nn.LayerNorm(DIM),
            Experts(experts),
            gate(DIM, experts),
        )
        self.heads, self.capacity = nn.ModuleList([nn.Linear(DIM, 20), nn.Linear(DIM, 12)]), capacity

    def encode(self, tokens: Tensor) -> Tensor:
        tokens = self.block(tokens)
        normed = self.norm(tokens)
        scores = self.router(normed).softmax(-1)
        values, rows = scores[0].t().topk(self.capacity, -1)
        chosen = self.experts.each(normed[0][rows]) * values[..., None]
        added = torch.zeros_like(tokens[0]).index_add(0, rows.flatten(), chosen.flatten(0, 1))
        return (tokens + added).mean(1)

    def forward(self, image: Tensor, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads[0](self.encode(self.image(image))), self.heads[1](self.encode(self.sound(spectrogram)))


def modalities() -> dict[str, Tensor]:
    """A picture and a spectrogram."""
    return picture() | {"spectrogram": picture()["image"].mean(1, keepdim=True)}


ROUTINGS: tuple[tuple[str, str, str, Callable[[], Mixture]], ...] = (
    ("m3vit_gates", "M3ViT", "a gate per task, top 2 of 8 per token", TaskGates),
    ("m3vit_embedding", "M3ViT", "one gate that reads a task embedding", TaskEmbedding),
    ("m3vit_windows", "M3ViT", "one gate, a window of experts per task", TaskWindow),
    ("adamv_moe", "AdaMV-MoE", "a gate per task, k of its own: 1 and 3", partial(TaskGates, k=(1, 3))),
    ("mod_squad", "Mod-Squad", "a router per task over the experts it kept", ModSquad),
    ("v_moe", "V-MoE", "top 2 with buffers; what overflows is dropped", VisionMoE),
)


def two_tasks(mixture: Callable[[], Mixture]) -> TwoTasks:
    """The network around a new mixture of this kind."""
    return TwoTasks(mixture())


FAMILIES = (
    *(Family(name, of, how, partial(two_tasks, make), picture, DENSE) for name, of, how, make in ROUTINGS),
    Family(
        "imp",
        "IMP",
        "experts choose tokens; an embedding per modality",
        ModalityEncoder,
        modalities,
        ("classes", "sounds"),
    ),
)
