"""A compact M3ViT-like model with the outliers of a trained trunk, which random weights lack.

After Edge-MoE's trained weights: a few channels of the residual stream are 30 times as large as the median, one MoE
block's LayerNorm has gammas near 16 so that its output reaches 80, and its gate's logits have a deviation of 14.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgemtl.exporters.models import M3ViT, ModelConfig
from edgemtl.exporters.models.moe import Gate, MoE
from examples.smooth_images import smooth_images
from tests.support.models import TASKS, build

STRESS = ModelConfig(
    image=(64, 64),
    patch=8,
    dim=96,
    depth=8,
    heads=4,
    mlp_hidden=192,
    tasks=(replace(TASKS[0], channels=6), TASKS[1]),
    moe_blocks=(1, 3, 5, 7),
    experts=8,
    top_k=2,
    expert_hidden=96,
    class_token=True,
    head_channels=(24, 16, 8),
)
LOUD = (5, 40, 77)
"""Channels of the residual stream that are 30 times as large as the median."""
OUTLIERS = {5: 8.0, 17: 15.6, 40: 8.0, 63: 15.6}
"""Channel and gamma of the LayerNorm in front of the last but one mixture."""
OUTLIER_BLOCK = 5
LOGIT_DEVIATION = 14.0
BRANCH = 0.4
"""Factor of what a block adds to the stream: trained blocks add less than random ones."""


def build_stress(seed: int = 3) -> M3ViT:
    """The model in evaluation mode; equal for equal seeds."""
    model = build(STRESS, seed)
    images = torch.from_numpy(smooth_images((1, 3, *STRESS.image), 1, seed)[0])
    with torch.no_grad():
        _raise_stream(model)
        block = model.backbone.blocks[OUTLIER_BLOCK]
        for channel, gamma in OUTLIERS.items():
            block.norm2.weight[channel] = gamma
        gates = [module for module in block.modules() if isinstance(module, Gate)]
        for gate in gates:
            deviation = _logits(model, gate, images).std()
            gate.w_gate *= LOGIT_DEVIATION / deviation
    return model


def _raise_stream(model: M3ViT) -> None:
    """Loud channels, made by the embedding and by the first dense block; later LayerNorms expect them."""
    backbone = model.backbone
    for channel in LOUD:
        backbone.pos_embed[..., channel] *= 30
        backbone.patch_embed.proj.weight[channel] *= 30
    for block in backbone.blocks:
        for norm in (block.norm1, block.norm2):
            norm.weight[list(LOUD)] *= 0.3
        last = block.mlp.experts.h4toh if isinstance(block.mlp, MoE) else block.mlp.fc2
        for branch in (block.attn.proj, last):
            branch.weight *= BRANCH


def _logits(model: M3ViT, gate: Gate, images: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = gate.register_forward_hook(lambda _module, _inputs, logits: seen.append(logits))
    for task in model.config.task_names:
        model(images, task)
    hook.remove()
    return torch.cat(seen)
