"""M3ViT: one vision transformer, a gate and a head per task (arXiv 2210.14793), named as upstream."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from edgemtl.errors import ConfigError
from edgemtl.exporters.models.backbone import Backbone
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.head import make_head
from edgemtl.exporters.models.moe import MoE
from edgemtl.exporters.models.routing import GateLosses


class M3ViT(nn.Module):
    """A multi-task model; raises `ConfigError` for a task name torch cannot give to a module.

    Images are float [B, 3, H, W], sized and normalised as the config says; maps are raw [B, channels, H, W]:
    logits for segmentation, edges and saliency, values for depth and normals; classifications are logits [B, classes].
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        taken = [name for name in config.task_names if hasattr(nn.ModuleDict(), name)]
        if taken:
            raise ConfigError(f"task name must not be one torch.nn.ModuleDict uses itself, not {taken[0]!r}")
        self.config = config
        self.backbone = Backbone(config)
        self.decoders = nn.ModuleDict({task.name: make_head(config, task) for task in config.tasks})
        self.apply(_initialise)

    def forward(self, image: Tensor, task: str) -> Tensor:
        """The map of one task; raises `ConfigError` for a task the model does not have."""
        (tokens,) = self.backbone(image, (self.config.task_index(task),))
        return cast(Tensor, self.decoders[task](tokens))

    def forward_all(self, image: Tensor) -> dict[str, Tensor]:
        """The maps of all tasks; what precedes the first mixture of experts runs once, the rest batched."""
        tokens = self.backbone(image, tuple(range(len(self.config.tasks))))
        return {name: self.decoders[name](x) for name, x in zip(self.config.task_names, tokens, strict=True)}

    def moe_layers(self) -> list[MoE]:
        """The mixture-of-experts layers in block order."""
        return [module for module in self.modules() if isinstance(module, MoE)]

    def gate_losses(self) -> GateLosses:
        """The gates' losses of the last forward pass in training mode, summed over layers."""
        losses = [layer.losses for layer in self.moe_layers() if layer.losses is not None]
        if not losses:
            return GateLosses(*self.backbone.pos_embed.new_zeros(len(GateLosses._fields)))
        return GateLosses(*(torch.stack(parts).sum() for parts in zip(*losses, strict=True)))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Count, from zero, how many tokens of each task each expert gets while the context is open."""
        layers = self.moe_layers()
        for layer in layers:
            layer.start_counting()
        try:
            yield
        finally:
            for layer in layers:
                layer.counting = False

    def expert_counts(self) -> Tensor:
        """Tokens counted by the last `recording`: int64 [MoE layers, tasks, experts]."""
        shape = len(self.config.tasks), self.config.experts
        counts = [layer.counts for layer in self.moe_layers()]
        return torch.stack(counts) if counts else torch.zeros(0, *shape, dtype=torch.int64)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
