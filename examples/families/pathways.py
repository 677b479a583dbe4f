"""Networks whose pathways part in other ways: lanes of summaries, policies, sums of logits, two sensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.families.family import IMAGE, Family, picture
from examples.families.parts import DIM, Block, Patches, drawn, gate, many, scatter_top


class MultiLane(nn.Module):
    """MULTI-LANE: selectors of each task summarise the patches; the summaries go down the shared blocks in a lane of
    their own, with the task's class token and, in the first block, its prompts."""

    def __init__(self, tasks: int = 4, selectors: int = 20, prompts: int = 4) -> None:
        super().__init__()
        self.patches, self.blocks, self.norm = Patches(IMAGE), many(2, Block), nn.LayerNorm(DIM)
        self.selectors, self.classes = drawn(tasks, selectors, DIM), drawn(tasks, 1, DIM, scale=0.3)
        self.prompts = drawn(tasks, prompts, DIM, scale=0.3)
        self.heads = many(tasks, lambda: nn.Linear(DIM, 10))

    def lane(self, patches: Tensor, task: int) -> Tensor:
        weights = (self.selectors[task] @ patches.transpose(1, 2) * DIM**-0.5).softmax(-1)
        x = torch.cat([self.classes[task][None], weights @ patches], 1)
        first = self.blocks[0](torch.cat([self.prompts[task][None], x], 1))
        x = first[:, self.prompts.shape[1] :]
        for block in self.blocks[1:]:
            x = block(x)
        return self.heads[task](self.norm(x)[:, 0])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        patches = self.patches(image)
        return tuple(self.lane(patches, task) for task in range(len(self.heads)))


class MixturePolicy(nn.Module):
    """MENTOR: convolutions over stacked frames, then a mixture over one state vector, to an action.

    The gate is a small network; the best 4 of 32 experts are renormalised.
    """

    def __init__(self, experts: int = 32, k: int = 4, width: int = 64, inner: int = 256) -> None:
        super().__init__()
        self.eyes = nn.Sequential(
            nn.Conv2d(9, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()
        )
        self.trunk = nn.Sequential(nn.Linear(32 * 37 * 37, width), nn.LayerNorm(width), nn.Tanh())
        self.gate, self.k = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), gate(inner, experts)), k
        self.experts = many(experts, lambda: nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)))
        self.act = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, 6))

    def forward(self, frames: Tensor) -> Tensor:
        state = self.trunk(self.eyes(frames - 0.5).flatten(1))
        weights = scatter_top(self.gate(state).softmax(-1), self.k, normalise=True)
        outputs = torch.stack([expert(state) for expert in self.experts], 1)
        return torch.tanh(self.act((outputs * weights[..., None]).sum(1)))


def frames() -> dict[str, Tensor]:
    """Three stacked pictures of 84 x 84."""
    return {"frames": F.interpolate(torch.rand(1, 9, 12, 12), size=(84, 84), mode="bilinear")}


class LogitFusion(nn.Module):
    """Dynamic logit fusion: a large model's logits + sum_i alpha_i * (tuned small model i - untuned small model).

    alpha is fixed for a task, which leaves out the small models that it gives no weight.
    """

    alphas = ({0: 0.8, 2: 0.4}, {1: 1.2})

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small, self.tuned = self._net(3, DIM), self._net(1, 32), many(3, lambda: self._net(1, 32))

    @staticmethod
    def _net(depth: int, dim: int) -> nn.Module:
        blocks = [Block(dim, hidden=2 * dim) for _ in range(depth)]
        return nn.Sequential(Patches(IMAGE, dim=dim), *blocks, Mean(), nn.Linear(dim, 20))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        large, small = self.large(image), self.small(image)
        apart = [tuned(image) - small for tuned in self.tuned]
        return tuple(large + sum(alpha * apart[i] for i, alpha in alphas.items()) for alphas in self.alphas)


class Mean(nn.Module):
    """Mean over tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


class Fuller(nn.Module):
    """FULLER: features of a camera and of a point cloud meet in a map from above; segmentation and a heat map."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.camera = nn.Sequential(nn.Conv2d(3, width, 7, 4, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.points = nn.Sequential(nn.Conv2d(16, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.fuse = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.map = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 6, 1))
        self.heat = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 10, 1), nn.Sigmoid()
        )

    def forward(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        fused = self.fuse(torch.cat([self.camera(image), self.points(points)], 1))
        return self.map(fused), self.heat(fused)


def sensors() -> dict[str, Tensor]:
    """A picture, and features of a point cloud seen from above: many cells are empty."""
    points = torch.rand(1, 16, IMAGE[0] // 4, IMAGE[1] // 4)
    return picture() | {"points": points * (torch.rand(1, 1, *points.shape[2:]) < 0.3)}


LANES = ("labels_a", "labels_b", "labels_c", "labels_d")
FAMILIES = (
    Family("multi_lane", "MULTI-LANE", "a lane of summary tokens per task", MultiLane, picture, LANES),
    Family("mentor", "MENTOR", "top 4 of 32 experts of one state vector", MixturePolicy, frames, ("action",)),
    Family(
        "logit_fusion",
        "dynamic logit fusion",
        "fixed weights of logits per task",
        LogitFusion,
        picture,
        ("first", "second"),
    ),
    Family("fuller", "FULLER", "two sensors, one trunk, two heads", Fuller, sensors, ("map", "heat")),
)
