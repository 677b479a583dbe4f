"""One trunk whose weights a task changes: adapters mixed by a table, task vectors added to the weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.families.family import IMAGE, Family, picture
from examples.families.parts import DIM, HIDDEN, Block, Patches, drawn, many

CLASSES = (10, 37, 5)
TASKS = ("animals", "pets", "scenes")


class Skills(nn.Module):
    """Polytropon: sigmoid of a table chooses how much of each low-rank skill a task adds; MHR does so for each slice.

    mix [heads, S] = sigmoid(table[task]) / sum; down [DIM, r] and up [r, DIM] are sums over skills, slice by slice.
    """

    def __init__(self, heads: int, skills: int = 8, rank: int = 8) -> None:
        super().__init__()
        self.table, self.base = drawn(len(TASKS), heads, skills), nn.Linear(DIM, DIM)
        self.down = drawn(skills, heads, DIM // heads, rank, scale=DIM**-0.5)
        self.up = drawn(skills, heads, rank, DIM // heads, scale=0.3)

    def forward(self, x: Tensor, task: int) -> Tensor:
        mix = torch.sigmoid(self.table[task])
        mix = mix / (mix.sum(-1, keepdim=True) + 1e-12)
        down = torch.einsum("hs,shdr->hdr", mix, self.down).flatten(0, 1)
        up = torch.einsum("hs,shrd->rhd", mix, self.up).flatten(1)
        return self.base(x) + x @ down @ up


class SkillNet(nn.Module):
    """A vision transformer whose projections behind the blocks are adapted by a task's skills."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.patches, self.blocks, self.skills = Patches(IMAGE), many(2, Block), many(2, lambda: Skills(heads))
        self.heads = nn.ModuleList([nn.Linear(DIM, classes) for classes in CLASSES])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.classify(image, task) for task in range(len(CLASSES)))

    def classify(self, image: Tensor, task: int) -> Tensor:
        tokens = self.patches(image)
        for block, skills in zip(self.blocks, self.skills, strict=True):
            tokens = tokens + F.gelu(skills(block(tokens), task))
        return self.heads[task](tokens.mean(1))


class ScaledAdapters(nn.Module):
    """ScaLearn: adapters of source tasks stay as they are; a target task learns a scale for each and adds them."""

    def __init__(self, sources: int = 4, bottleneck: int = 16) -> None:
        super().__init__()
        self.patches, self.blocks = Patches(IMAGE), many(2, Block)
        self.down = many(2, lambda: many(sources, lambda: nn.Linear(DIM, bottleneck)))
        self.up = many(2, lambda: many(sources, lambda: nn.Linear(bottleneck, DIM)))
        self.scales = drawn(len(CLASSES), 2, sources, DIM)
        self.heads = nn.ModuleList([nn.Linear(DIM, classes) for classes in CLASSES])

    def classify(self, image: Tensor, task: int) -> Tensor:
        tokens = self.patches(image)
        for layer, block in enumerate(self.blocks):
            tokens = block(tokens)
            pairs = zip(self.down[layer], self.up[layer], self.scales[task, layer], strict=True)
            tokens = tokens + sum(up(F.relu(down(tokens))) * scale for down, up, scale in pairs)
        return self.heads[task](tokens.mean(1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.classify(image, task) for task in range(len(CLASSES)))


class TaskVectors(nn.Module):
    """A transformer whose four matrices of each block are base + sum_i coefficient_i * delta_i for a task.

    coefficients [task, block, vector] says which task vectors a task adds; ``masked`` multiplies all vectors by one
    shared mask first, as Concrete fusion does.
    """

    shapes = ((DIM, 3 * DIM), (DIM, DIM), (DIM, HIDDEN), (HIDDEN, DIM))

    def __init__(self, coefficients: Tensor, masked: bool = False) -> None:
        super().__init__()
        blocks, vectors = coefficients.shape[1:]
        self.register_buffer("coefficients", coefficients)
        self.patches = Patches(IMAGE)
        self.base = nn.ParameterList([drawn(*s, scale=s[0] ** -0.5) for _ in range(blocks) for s in self.shapes])
        self.delta = nn.ParameterList(
            [drawn(vectors, *s, scale=0.2 * s[0] ** -0.5) for _ in range(blocks) for s in self.shapes]
        )
        for delta in self.delta:
            mask = torch.rand(delta.shape[1:]) < 0.6 if masked else torch.ones(delta.shape[1:])
            delta.data *= mask
        self.norms = many(2 * blocks, lambda: nn.LayerNorm(DIM))
        self.heads = nn.ModuleList([nn.Linear(DIM, classes) for classes in CLASSES])

    def weights(self, task: int, block: int) -> list[Tensor]:
        chosen = self.coefficients[task, block]
        pairs = zip(self.base[4 * block : 4 * block + 4], self.delta[4 * block : 4 * block + 4], strict=True)
        return [base + (chosen[:, None, None] * delta).sum(0) for base, delta in pairs]

    def classify(self, image: Tensor, task: int) -> Tensor:
        x = self.patches(image)
        for block in range(self.coefficients.shape[1]):
            qkv, out, first, second = self.weights(task, block)
            q, k, v = (self.norms[2 * block](x) @ qkv).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) @ out
            x = x + F.gelu(self.norms[2 * block + 1](x) @ first) @ second
        return self.heads[task](x.mean(1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.classify(image, task) for task in range(len(CLASSES)))


def arithmetic() -> TaskVectors:
    """Task arithmetic: each task adds its own vector, by one coefficient for the whole network."""
    own = torch.eye(len(CLASSES)) * torch.tensor([0.4, 0.7, 0.3])
    return TaskVectors(own[:, None].expand(-1, 2, -1).clone())


def atlas() -> TaskVectors:
    """aTLAS: a learned coefficient for each pair of a task vector and a block."""
    return TaskVectors(torch.randn(len(CLASSES), 2, len(CLASSES)) * 0.5)


def concrete() -> TaskVectors:
    """Concrete fusion: vectors under a shared mask are merged into one network; tasks differ in their heads alone."""
    return TaskVectors(torch.full((len(CLASSES), 2, len(CLASSES)), 0.3), masked=True)


FAMILIES = (
    Family("polytropon", "Polytropon", "a table mixes low-rank skills", lambda: SkillNet(1), picture, TASKS),
    Family("mhr", "MHR", "a table mixes skills slice by slice", lambda: SkillNet(4), picture, TASKS),
    Family("scalearn", "ScaLearn", "learned scales add source adapters", ScaledAdapters, picture, TASKS),
    Family("concrete", "Concrete fusion", "masked task vectors merged for all tasks", concrete, picture, TASKS),
    Family("atlas", "aTLAS", "a coefficient per task vector and block", atlas, picture, TASKS),
    Family("task_arithmetic", "task arithmetic", "base + coefficient * the task's vector", arithmetic, picture, TASKS),
)
