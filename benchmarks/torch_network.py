"""The network of a row in torch, from the description beside its models; needs torch alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgemtl.exporters.models import M3ViT, preset
from examples.random_models import build

TASK = "semseg"
SEED = 0


def read_network(description: Path) -> tuple[M3ViT, Callable[[Any], Any]]:
    """The model, and what of it runs: one task's map, or its encoder's tokens."""
    row = json.loads(description.read_text())
    model = build(preset(row["preset"], image=tuple(row["image"])), SEED)
    if row["part"] == "head":
        return model, lambda image: model(image, TASK)
    task = model.config.task_index(TASK)
    return model, lambda image: model.backbone(image, (task,))[0]


def read_shape(description: Path) -> tuple[int, ...]:
    """The shape [1, 3, height, width] of its image."""
    return 1, 3, *json.loads(description.read_text())["image"]
