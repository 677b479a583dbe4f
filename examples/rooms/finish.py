"""From trained weights to outputs that mean something: metres, and logits whose sign is the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import torch
from torch import nn

from edgemtl.evaluate.metrics import EdgesMeter
from edgemtl.exporters.models import M3ViT
from examples.rooms.evaluate import predictions
from examples.rooms.losses import DEPTH_MEAN_M, DEPTH_STD_M
from examples.rooms.render import View

_THRESHOLDS: Final = tuple(float(t) for t in np.arange(-1.0, 3.01, 0.1))


def last_convolution(model: M3ViT, task: str) -> nn.Conv2d:
    """The 1x1 convolution that ends the task's head; only a bilinear resize follows it."""
    head = model.decoders[task]
    return cast(nn.Conv2d, head.get_submodule(f"conv_{len(model.config.head_channels)}"))


def fold_depth_units(model: M3ViT) -> None:
    """Make the depth head give metres: fold its target's mean and deviation into its last convolution."""
    convolution = last_convolution(model, "depth")
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.mul_(DEPTH_STD_M)
        convolution.bias.mul_(DEPTH_STD_M).add_(DEPTH_MEAN_M)


def fold_edge_threshold(model: M3ViT, views: Sequence[View]) -> float:
    """Shift the edge head so that a positive logit is an edge; returns the threshold, tuned on ``views``."""
    meters = {threshold: EdgesMeter() for threshold in _THRESHOLDS}
    for view, outputs in predictions(model, views):
        for threshold, meter in meters.items():
            meter.add(outputs["edges"] - np.float32(threshold), view.edges)
    best = max(_THRESHOLDS, key=lambda threshold: meters[threshold].result()["f_score"])
    convolution = last_convolution(model, "edges")
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.bias.sub_(best)
    return best
