"""Networks whose gates look at the whole image: one vector of weights for all positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.families.family import IMAGE, Family, picture
from examples.families.mixtures import CLASSES, DENSE
from examples.families.parts import DIM, Block, MapHead, Patches, drawn, gate, many


class TaskExpert(nn.Module):
    """TaskExpert: convolution experts over the shared features; a task's memory is gated by its own pooled state.

    Every layer's experts make features once. A small network on a task's pooled memory weighs all of them (a soft
    choice for the whole image), and the weighed sum updates the memory that the next layer's gate reads.
    """

    def __init__(self, layers: int = 2, experts: int = 5, width: int = 48, tasks: int = 2) -> None:
        super().__init__()
        self.patches, self.blocks, self.reduce = Patches(IMAGE), many(2, Block), nn.Conv2d(DIM, width, 1)
        self.experts = many(layers, lambda: many(experts, lambda: self._expert(width)))
        self.gates = many(layers, lambda: many(tasks, lambda: self._gate(width, experts)))
        self.update = many(layers, lambda: many(tasks, lambda: nn.Conv2d(2 * width, width, 1)))
        self.memory = drawn(tasks, width, 1, 1)
        self.heads = nn.ModuleList([MapHead(width, channels) for channels in CLASSES])

    @staticmethod
    def _expert(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU())

    @staticmethod
    def _gate(width: int, experts: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, experts), nn.Softmax(-1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        tokens = self.patches(image)
        for block in self.blocks:
            tokens = block(tokens)
        shared = self.reduce(self.patches.to_map(tokens))
        states = [shared * memory for memory in self.memory]
        for experts, gates, updates in zip(self.experts, self.gates, self.update, strict=True):
            features = torch.stack([expert(shared) for expert in experts], 1)
            for task, (weigh, update) in enumerate(zip(gates, updates, strict=True)):
                weights = weigh(states[task].mean((2, 3)))
                chosen = (features * weights[:, :, None, None, None]).sum(1)
                states[task] = states[task] + update(torch.cat([states[task], chosen], 1))
        return tuple(head(state) for head, state in zip(self.heads, states, strict=True))


class LowRankExperts(nn.Module):
    """MLoRE: low-rank convolutions of growing rank as experts; a task's router keeps the best for the whole image.

    What a router drops is multiplied by zero; beside the experts run a convolution shared by all tasks and a
    low-rank one of the task's own.
    """

    def __init__(self, experts: int = 15, keeps: int = 9, width: int = 48, tasks: int = 2) -> None:
        super().__init__()
        self.patches, self.blocks, self.reduce = Patches(IMAGE), many(2, Block), nn.Conv2d(DIM, width, 1)
        self.experts = nn.ModuleList([self._low_rank(width, 4 + 2 * i) for i in range(experts)])
        self.shared, self.drops = nn.Conv2d(width, width, 3, padding=1), experts - keeps
        self.own, self.scale = many(tasks, lambda: self._low_rank(width, 8)), drawn(tasks)
        self.before = many(tasks, lambda: nn.Conv2d(width, width, 1))
        self.look = many(tasks, lambda: nn.Conv2d(width, width, 1))
        self.routers, self.norms = many(tasks, lambda: gate(width, experts)), many(tasks, lambda: nn.BatchNorm2d(width))
        self.heads = nn.ModuleList([MapHead(width, channels) for channels in CLASSES])

    @staticmethod
    def _low_rank(width: int, rank: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(width, rank, 3, padding=1, bias=False), nn.Conv2d(rank, width, 1, bias=False))

    def route(self, x: Tensor, task: int) -> Tensor:
        scores = self.routers[task](F.gelu(self.look[task](x)).mean((2, 3)) * 4).softmax(-1)
        dropped = scores.topk(self.drops, -1, largest=False)[1]
        return scores.scatter(1, dropped, 0.0)

    def decode(self, features: Tensor, task: int) -> Tensor:
        x = self.before[task](features)
        weights = self.route(x, task)
        low_rank = sum(expert(x) * weights[:, i, None, None, None] for i, expert in enumerate(self.experts))
        y = low_rank + self.shared(x) + self.own[task](x) * self.scale[task]
        return self.heads[task](x + F.gelu(self.norms[task](y)))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        tokens = self.patches(image)
        for block in self.blocks:
            tokens = block(tokens)
        features = self.reduce(self.patches.to_map(tokens))
        return tuple(self.decode(features, task) for task in range(len(self.heads)))


FAMILIES = (
    Family("taskexpert", "TaskExpert", "soft weights of all experts for the whole image", TaskExpert, picture, DENSE),
    Family("mlore", "MLoRE", "top 9 of 15 low-rank experts for the whole image", LowRankExperts, picture, DENSE),
)
