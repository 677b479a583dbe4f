"""Images as the frames that calibration, integers and comparisons take."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgemtl.frontend import InputSpec
from examples.smooth_images import smooth_images


def frames(images: Iterable[np.ndarray], name: str = "image") -> list[dict[str, np.ndarray]]:
    """A frame of each image, which is the only input."""
    return [{name: image} for image in images]


def smooth_frames(spec: InputSpec, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Smooth random images of an input."""
    return frames(smooth_images(spec.shape, count, seed=seed), spec.name)
