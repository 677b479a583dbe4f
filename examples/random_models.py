"""Models with random weights whose routers decide clearly."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgemtl.exporters.models import M3ViT, ModelConfig
from edgemtl.exporters.models.moe import Gate


def build(config: ModelConfig, seed: int) -> M3ViT:
    """The model with random weights in evaluation mode.

    Gates are scaled so that routers decide clearly; biases and batch norm statistics are not trivial.
    """
    torch.manual_seed(seed)
    model = M3ViT(config).eval()
    with torch.no_grad():
        for module in model.modules():
            _randomise(module)
    return model


def _randomise(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.normal_(0, 0.3)
        module.running_var.uniform_(0.5, 2.0)
    for name, value in module.named_parameters(recurse=False):
        if isinstance(module, Gate):
            value.normal_(0, 1.5 / math.sqrt(value.shape[0]))
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d) and name == "weight":
            value.uniform_(0.5, 1.5)
        elif value.ndim > 1 and "bias" not in name:
            value.normal_(0, 1 / math.sqrt(value[0].numel() if value.ndim != 3 else value.shape[-1]))
        else:
            value.normal_(0, 0.2)
