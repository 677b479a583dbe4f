"""Random images that are smooth, as photographs are, with a little noise."""

import numpy as np


def smooth_images(shape: tuple[int, ...], count: int, seed: int = 0) -> list[np.ndarray]:
    """Normalised float32 images [1, C, H, W]: a few colours that run into each other."""
    rng = np.random.default_rng(seed)
    return [_smooth(rng, shape) for _ in range(count)]


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    _, channels, height, width = shape
    rows, columns = (np.linspace(0, 3, size) for size in (height, width))
    colours = rng.standard_normal((channels, 4, 4))
    down, across = (np.maximum(0, 1 - np.abs(at[:, None] - np.arange(4))) for at in (rows, columns))
    noise = rng.standard_normal((channels, height, width))
    image: np.ndarray = np.einsum("yi,cij,xj->cyx", down, colours, across) + 0.1 * noise
    return image[None].astype(np.float32)
