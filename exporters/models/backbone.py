"""The trunk: patches to tokens, then the blocks, for one task or for several at once."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemtl.exporters.models.block import Block
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.moe import TaskGroups

NO_TASK = TaskGroups((), None)


class PatchEmbed(nn.Module):
    """Tokens [B, patches, dim] of an image [B, 3, H, W], row by row."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.proj(image).flatten(2).transpose(1, 2))


class TaskEmbedding(nn.Module):
    """What a task-conditioned gate sees of its task: LayerNorm(MLP(one-hot task id)), upstream `new_Mlp`."""

    def __init__(self, tasks: int, width: int, norm_eps: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(tasks, width)
        self.fc2 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, tasks: tuple[int, ...]) -> Tensor:
        # The product with a one-hot row is a column of the weight.
        hidden = torch.stack([self.fc1.weight[:, task] for task in tasks]) + self.fc1.bias
        return cast(Tensor, self.norm(self.fc2(functional.gelu(hidden))))


class Common(NamedTuple):
    """What all tasks share: tokens [B, N, D] and the input [B, N, D] of the last block that made them."""

    tokens: Tensor
    before: Tensor


class Backbone(nn.Module):
    """Tokens of the last block [B, N, D]; there is no final norm, the heads have their own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch, config.dim)
        self.pos_embed = _normal(1, config.tokens, config.dim)
        self.cls_token: Tensor | None = None
        if config.class_token:
            self.cls_token = _normal(1, 1, config.dim)
        self.blocks = nn.ModuleList(Block(config, i in config.moe_blocks) for i in range(config.depth))
        self.shared = min(config.moe_blocks, default=config.depth)
        self.gate_task_represent: TaskEmbedding | None = None
        if config.moe_blocks and config.task_embedding:
            tasks, width = len(config.tasks), config.task_embedding
            self.gate_task_represent = TaskEmbedding(tasks, width, config.norm_eps)

    def embed(self, image: Tensor) -> Tensor:
        """Tokens [B, N, D] with their positions added."""
        x = self.patch_embed(image)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return cast(Tensor, x + self.pos_embed)

    def groups(self, tasks: tuple[int, ...]) -> TaskGroups:
        """The tasks with their embeddings."""
        represent = self.gate_task_represent
        return TaskGroups(tasks, None if represent is None else represent(tasks))

    def common(self, image: Tensor) -> Common:
        """Tokens as no task has changed them yet: up to the experts of the first mixture, or all the way."""
        x = self.embed(image)
        for block in self._blocks[: self.shared]:
            x = block(x, NO_TASK)
        return Common(self._blocks[self.shared].attend(x) if self.shared < len(self.blocks) else x, x)

    def finish(self, common: Common, tasks: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Last tokens [B, N, D] of each task, all tasks in one batch."""
        if self.shared == len(self.blocks):
            return (common.tokens,) * len(tasks)
        groups = self.groups(tasks)
        x, before = (t.repeat(len(tasks), 1, 1) if len(tasks) > 1 else t for t in common)
        x = self._blocks[self.shared].feed(x, before, groups)
        for block in self._blocks[self.shared + 1 :]:
            x = block(x, groups)
        return x.chunk(len(tasks)) if len(tasks) > 1 else (x,)

    def forward(self, image: Tensor, tasks: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Last tokens of each task; a trunk without mixtures gives every task the same tensor."""
        return self.finish(self.common(image), tasks)

    @property
    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
