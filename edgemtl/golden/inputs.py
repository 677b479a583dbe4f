"""Inputs that a self-test may run: plain ones, and skewed ones that show what noise everywhere hides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgemtl.bundle import PLAIN, SKEWED, crop_input, expand_input

Array = NDArray[np.float32]

DRAWS = 8
MAGNITUDES = (100.0, 30.0, 10.0, 3.0)
FILL = 0.37
"""Of the magnitude, everywhere but in the corner."""
CORNER_ELEMENTS = 4096
SHAKE = 2.0**-20
"""Relative change of an input, about what float32 rounding adds up to within a network."""


@dataclass(frozen=True)
class Drawn:
    """An input as a bundle stores it: a part that is repeated, or a corner of what is ``fill`` everywhere else."""

    case: str
    stored: Array = field(repr=False)
    fill: float | None = None

    def whole(self, shape: tuple[int, ...]) -> Array:
        """The input of ``shape`` [1,C,H,W]."""
        return expand_input(self.stored, shape, self.fill)


def draw_plain(shape: tuple[int, ...], images: Sequence[Array], seed: int) -> Iterator[Drawn]:
    """The first of ``images`` where there are any, else normal noise drawn from ``seed``."""
    generator = np.random.default_rng(seed)
    drawn = images[:DRAWS] or (generator.standard_normal(shape, np.float32) for _ in range(DRAWS))
    return (Drawn(PLAIN, crop_input(image)) for image in drawn)


def draw_skewed(shape: tuple[int, ...], seed: int) -> Iterator[Drawn]:
    """One value everywhere but in a corner of noise, both large; the largest first."""
    _, channels, height, width = shape
    columns = max(1, min(width // 4, CORNER_ELEMENTS // channels))
    rows = max(1, min(height // 4, CORNER_ELEMENTS // (channels * columns)))
    noise = np.random.default_rng(seed).standard_normal((1, channels, rows, columns), np.float32)
    return (Drawn(SKEWED, noise * np.float32(m), float(np.float32(FILL * m))) for m in MAGNITUDES)


def shake(array: Array, seed: int) -> Array:
    """Each element of float32 ``array`` a little larger or smaller."""
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), array.shape)
    return (array * (1 + SHAKE * signs)).astype(np.float32)
