"""Inputs that a self-test may run: plain ones, and skewed ones that show what noise everywhere hides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgemtl.bundle import PLAIN, SKEWED, StoredInput, crop_input, draw_frame, draw_input, expand_input
from edgemtl.frontend import InputSpec
from edgemtl.operators import Array, Frame

DRAWS = 8
MAGNITUDES = (100.0, 30.0, 10.0, 3.0)
FILL = 0.37
"""Of the magnitude, everywhere but in the corner."""
CORNER_ELEMENTS = 4096
SHAKE = 2.0**-20
"""Relative change of an input, about what float32 rounding adds up to within a network."""


@dataclass(frozen=True)
class Drawn:
    """A frame as a bundle stores it, a part of each input by name."""

    case: str
    stored: Mapping[str, StoredInput] = field(repr=False)

    def whole(self, inputs: Sequence[InputSpec]) -> dict[str, Array]:
        """The frame, of those of ``inputs`` that are stored."""
        return {of.name: expand_input(self.stored[of.name], of.shape) for of in inputs if of.name in self.stored}


def draw_plain(inputs: Sequence[InputSpec], images: Sequence[Frame], seed: int) -> Iterator[Drawn]:
    """The first of ``images`` where there are any, else noise drawn from ``seed``."""
    generator = np.random.default_rng(seed)
    frames = images[:DRAWS] or (draw_frame(inputs, generator) for _ in range(DRAWS))
    return (Drawn(PLAIN, {of.name: StoredInput(crop_input(f[of.name], len(inputs))) for of in inputs}) for f in frames)


def draw_skewed(inputs: Sequence[InputSpec], seed: int) -> Iterator[Drawn]:
    """One value everywhere but in a corner of noise, both large, in each float32 input; the largest first."""
    generator = np.random.default_rng(seed)
    corners = {of.name: _draw_corner(of, generator, len(inputs)) for of in inputs}
    floats = {of.name for of in inputs if of.dtype == "float32"}
    for magnitude in MAGNITUDES:
        yield Drawn(SKEWED, {n: _skew(c, magnitude) if n in floats else StoredInput(c) for n, c in corners.items()})


def _draw_corner(spec: InputSpec, generator: np.random.Generator, inputs: int) -> Array:
    """Noise for a quarter of each of the last two axes, at most 4096 elements; integers for all of the input."""
    if spec.dtype != "float32":
        return crop_input(draw_input(spec, generator), inputs)
    *outer, rows, columns = (1, 1, *spec.shape)
    others = int(np.prod(outer))
    columns = max(1, min(columns // 4, CORNER_ELEMENTS // others))
    rows = max(1, min(rows // 4, CORNER_ELEMENTS // (others * columns)))
    corner = (*outer, rows, columns)[2:]
    return np.asarray(generator.standard_normal(corner, np.float32))


def _skew(noise: Array, magnitude: float) -> StoredInput:
    return StoredInput(np.asarray(noise * np.float32(magnitude)), float(np.float32(FILL * magnitude)))


def shake(array: Array, seed: int) -> Array:
    """Each element of float32 ``array`` a little larger or smaller; others as they are."""
    if array.dtype != np.float32:
        return array
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), array.shape)
    return np.asarray((array * (1 + SHAKE * signs)).astype(np.float32))


def shake_frame(frame: Frame, seed: int) -> dict[str, Array]:
    """Each input shaken."""
    return {name: shake(array, seed) for name, array in frame.items()}
