"""A contact sheet of held-out scenes, labels beside predictions: python -m examples.rooms.sheet OUT.png."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgemtl.exporters.checkpoints import load_checkpoint
from edgemtl.exporters.models import M3ViT
from edgemtl.report.pictures import (
    colourise,
    colourise_classes,
    colourise_depth,
    colourise_normals,
    contact_sheet,
)
from examples.rooms.data import HELD_OUT_SEED
from examples.rooms.evaluate import CHECKPOINT, predictions
from examples.rooms.render import View, render_seed

Picture = NDArray[np.uint8]

TITLES: Final = (
    "picture",
    "semseg label",
    "predicted",
    "depth label",
    "predicted",
    "normals label",
    "predicted",
    "edges label",
    "predicted",
)


def sheet(model: M3ViT, views: Sequence[View], scale: int = 1) -> Picture:
    """One row a view: the picture, then label and prediction of each task."""
    return contact_sheet([_row(view, outputs) for view, outputs in predictions(model, views)], TITLES, scale)


def _row(view: View, outputs: dict[str, NDArray[np.float32]]) -> list[Picture]:
    near, far = float(view.depth.min()), float(view.depth.max())
    return [
        view.image,
        colourise_classes(view.classes),
        colourise(outputs["semseg"], "segmentation"),
        colourise_depth(view.depth, near, far),
        colourise_depth(outputs["depth"][0], near, far),
        colourise_normals(view.normals.transpose(2, 0, 1)),
        colourise_normals(outputs["normals"]),
        np.repeat(view.edges[:, :, None].astype(np.uint8) * np.uint8(255), 3, axis=2),
        colourise(outputs["edges"], "edges"),
    ]


def main() -> None:
    """Command line: write the sheet of the first held-out scenes."""
    parser = argparse.ArgumentParser(description="Labels beside predictions on held-out rooms.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--scale", type=int, default=1)
    arguments = parser.parse_args()
    views = [render_seed(HELD_OUT_SEED + index) for index in range(arguments.scenes)]
    picture = sheet(load_checkpoint(arguments.checkpoint), views, arguments.scale)
    Image.fromarray(picture).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
