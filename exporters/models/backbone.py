"""The trunk: patches to tokens, then the blocks, for one task or for several at once."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemtl.exporters.models.block import Block
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.moe import TaskGroups


class PatchEmbed(nn.Module):
    """Tokens [B, patches, dim] of an image [B, 3, H, W], row by row."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.proj(image).flatten(2).transpose(1, 2))


class TaskEmbedding(nn.Module):
    """What a task-conditioned gate sees of its task: LayerNorm(MLP(one-hot task id)), upstream `new_Mlp`."""

    one_hot: Tensor

    def __init__(self, tasks: int, width: int, norm_eps: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(tasks, width)
        self.fc2 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.register_buffer("one_hot", torch.eye(tasks), persistent=False)

    def forward(self, tasks: tuple[int, ...]) -> Tensor:
        ids = torch.cat([self.one_hot[t : t + 1] for t in tasks])
        return cast(Tensor, self.norm(self.fc2(functional.gelu(self.fc1(ids)))))


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
        if config.moe_blocks and config.routing == "task_conditioned":
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

    def forward(self, image: Tensor, tasks: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Tokens of each task; everything before the first mixture of experts runs once.

        A trunk without mixtures gives every task the same tensor.
        """
        blocks = cast(list[Block], list(self.blocks))
        groups, x = self.groups(tasks), self.embed(image)
        for block in blocks[: self.shared]:
            x = block(x, groups)
        if self.shared == len(blocks):
            return (x,) * len(tasks)
        x = blocks[self.shared].attend(x)
        x = blocks[self.shared].feed(x.repeat(len(tasks), 1, 1) if len(tasks) > 1 else x, groups)
        for block in blocks[self.shared + 1 :]:
            x = block(x, groups)
        return x.chunk(len(tasks)) if len(tasks) > 1 else (x,)


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
