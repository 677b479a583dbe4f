"""The head of one task: to a map (upstream `VisionTransformerUpHead`, num_conv 4), or to scores of classes."""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from edgemtl.exporters.models.config import ModelConfig, TaskSpec


class Head(nn.Module):
    """The map [B, channels, H, W] of one task from the trunk's tokens [B, N, D].

    LayerNorm, then per stage conv 3x3, BatchNorm, ReLU, with bilinear x2 between stages; conv 1x1 to the
    task's channels and a last bilinear resize to the size of the image.
    """

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.image, self.grid, self.class_token = config.image, config.grid, config.class_token
        self.stages = len(config.head_channels)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        widths = (config.dim, *config.head_channels)
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            self.add_module(f"conv_{i}", nn.Conv2d(inputs, outputs, 3, padding=1))
            self.add_module(f"syncbn_fc_{i}", nn.BatchNorm2d(outputs))
        self.add_module(f"conv_{self.stages}", nn.Conv2d(widths[-1], channels, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(tokens[:, 1:] if self.class_token else tokens)
        x = x.reshape(-1, *self.grid, x.shape[-1]).permute(0, 3, 1, 2)
        for i in range(self.stages):
            x = functional.relu(self._call(f"syncbn_fc_{i}", self._call(f"conv_{i}", x)))
            if i + 1 < self.stages:
                x = _resize(x, (2 * x.shape[2], 2 * x.shape[3]))
        return _resize(self._call(f"conv_{self.stages}", x), self.image)

    def _call(self, name: str, x: Tensor) -> Tensor:
        return cast(Tensor, self.get_submodule(name)(x))


class ClassHead(nn.Module):
    """The scores [B, classes] of a classification from the trunk's tokens [B, N, D].

    LayerNorm of the class token, or the mean of all tokens where there is none; then one linear layer. Not part of
    M3ViT, whose tasks are maps.
    """

    def __init__(self, config: ModelConfig, classes: int) -> None:
        super().__init__()
        self.class_token = config.class_token
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.classes = nn.Linear(config.dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(tokens)
        return cast(Tensor, self.classes(x[:, 0] if self.class_token else x.mean(1)))


def make_head(config: ModelConfig, task: TaskSpec) -> nn.Module:
    """The head that a task's kind needs."""
    head = ClassHead if task.kind == "classification" else Head
    return head(config, task.channels)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
