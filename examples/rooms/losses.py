"""What the four heads are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from examples.rooms.data import IMAGE_MEAN, IMAGE_STD, Pool

DEPTH_MEAN_M: Final = 3.4
DEPTH_STD_M: Final = 1.3
"""The depth head learns (metres - DEPTH_MEAN_M) / DEPTH_STD_M; `finish.fold_depth_units` undoes it."""

TASK_WEIGHTS: Final = {"semseg": 1.0, "depth": 1.0, "normals": 2.0, "edges": 1.0}
_EDGE_POSITIVE_WEIGHT: Final = 4.0
_DEPTH_GRADIENT_WEIGHT: Final = 0.5


@dataclass(frozen=True)
class Batch:
    """image [B, 3, H, W] normalised; classes [B, H, W] int64; depth [B, 1, H, W] standardised;
    normals [B, 3, H, W] unit; edges [B, 1, H, W] of 0 and 1; all float32 but the classes."""

    image: Tensor
    classes: Tensor
    depth: Tensor
    normals: Tensor
    edges: Tensor


def to_batch(pool: Pool, mirrored: NDArray[np.bool_] | None = None) -> Batch:
    """Unpack scenes, those with ``mirrored`` [B] flipped left to right (the normals' x changes its sign)."""
    image, classes, depth, normals, edges = (
        torch.from_numpy(a) for a in (pool.image, pool.classes, pool.depth, pool.normals, pool.edges)
    )
    batch = Batch(
        ((image.permute(0, 3, 1, 2).float() / 255 - IMAGE_MEAN) / IMAGE_STD),
        classes.long(),
        (depth.float()[:, None] - DEPTH_MEAN_M) / DEPTH_STD_M,
        normals.permute(0, 3, 1, 2).float() / 127,
        edges.float()[:, None],
    )
    return batch if mirrored is None else _mirror(batch, torch.from_numpy(mirrored))


def _mirror(batch: Batch, which: Tensor) -> Batch:
    for values in (batch.image, batch.classes, batch.depth, batch.normals, batch.edges):
        values[which] = values[which].flip(-1)
    batch.normals[which, 0] *= -1
    return batch


def class_weights(classes: NDArray[np.uint8], count: int) -> Tensor:
    """Weights [count] proportional to frequency^-1/2 over class ids of any shape, 1 on the mean pixel."""
    share = np.bincount(classes.ravel(), minlength=count) / classes.size
    weight = np.maximum(share, 1e-4) ** -0.5
    return torch.tensor(weight / (weight * share).sum(), dtype=torch.float32)


def task_losses(outputs: dict[str, Tensor], batch: Batch, weights: Tensor) -> dict[str, Tensor]:
    """The unweighted loss of each task."""
    semseg, depth, normals, edges = (outputs[task].float() for task in TASK_WEIGHTS)
    return {
        "semseg": functional.cross_entropy(semseg, batch.classes, weight=weights),
        "depth": _depth_loss(depth - batch.depth),
        "normals": (1 - functional.cosine_similarity(normals, batch.normals, dim=1, eps=1e-4)).mean(),
        "edges": functional.binary_cross_entropy_with_logits(
            edges, batch.edges, pos_weight=torch.tensor(_EDGE_POSITIVE_WEIGHT)
        ),
    }


def _depth_loss(error: Tensor) -> Tensor:
    """Mean absolute error plus that of the slopes, which keeps outlines sharp."""
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    along = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + _DEPTH_GRADIENT_WEIGHT * (across + along)
