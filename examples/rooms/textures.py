"""Procedural colour: plain, checker, stripes, noise and bricks, each with grain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from examples.rooms.labels import Floats

KINDS: Final = ("plain", "checker", "stripes", "noise", "bricks")
EVEN_MIX: Final = (0.25, 0.2, 0.2, 0.25, 0.1)

_OCTAVES = np.array([2, 3, 5, 8, 13], np.float32)
_AMPLITUDES = np.array([0.3, 0.25, 0.2, 0.15, 0.1], np.float32)


@dataclass(frozen=True)
class Waves:
    """Smooth noise from five random sinusoids: frequency [2, 5] in radians a unit, phase [5]."""

    frequency: Floats
    phase: Floats

    def __call__(self, uv: Floats) -> Floats:
        """Noise in [0, 1] at uv [N, 2] -> [N]."""
        result: Floats = 0.5 + 0.5 * (np.sin(uv @ self.frequency + self.phase) @ _AMPLITUDES)
        return result


def sample_waves(rng: np.random.Generator) -> Waves:
    """Draw the sinusoids of one noise field."""
    frequency = rng.normal(size=(2, 5)).astype(np.float32) * _OCTAVES
    return Waves(frequency, rng.uniform(0, 2 * np.pi, 5).astype(np.float32))


@dataclass(frozen=True)
class Texture:
    """Two colours [3] in 0..1 mixed by a pattern; ``scale`` is in repeats a metre."""

    kind: str
    base: Floats
    other: Floats
    scale: np.float32
    direction: Floats
    grain: np.float32
    pattern_waves: Waves
    grain_waves: Waves

    def colour(self, uv: Floats) -> Floats:
        """Colour [N, 3] at surface coordinates uv [N, 2] in metres."""
        mixed = self.base + (self.other - self.base) * self._pattern(uv)[:, None]
        result: Floats = mixed * (1 - self.grain * self.grain_waves(uv * np.float32(5)))[:, None]
        return result

    def _pattern(self, uv: Floats) -> Floats:
        if self.kind == "plain":
            return np.zeros(len(uv), np.float32)
        if self.kind == "checker":
            cell = np.floor(uv * self.scale)
            checker: Floats = (cell[:, 0] + cell[:, 1]) % np.float32(2)
            return checker
        if self.kind == "stripes":
            phase = (uv @ self.direction) * (self.scale * np.float32(2 * np.pi))
            stripe: Floats = (np.sin(phase) > 0).astype(np.float32)
            return stripe
        if self.kind == "noise":
            return self.pattern_waves(uv * self.scale)
        return _mortar(uv * self.scale)


def _mortar(uv: Floats) -> Floats:
    """1 in the joints of a running brick bond, 0 on the bricks."""
    row = uv[:, 1] * 2
    column = uv[:, 0] + 0.5 * (np.floor(row) % 2)
    joint: Floats = ((column % 1 < 0.08) | (row % 1 < 0.12)).astype(np.float32)
    return joint


def sample_texture(
    rng: np.random.Generator,
    mix: tuple[float, ...] = EVEN_MIX,
    low: float = 0.15,
    high: float = 0.95,
    contrast: float = 1.0,
) -> Texture:
    """Draw a texture: ``mix`` weighs KINDS, colours lie in [low, high], ``contrast`` pulls them together."""
    kind = KINDS[int(rng.choice(len(KINDS), p=mix))]
    base = rng.uniform(low, high, 3).astype(np.float32)
    other = rng.uniform(low, high, 3).astype(np.float32)
    angle = rng.uniform(0, np.pi)
    return Texture(
        kind=kind,
        base=base,
        other=base + (other - base) * np.float32(contrast),
        scale=np.float32(rng.uniform(1.5, 6.0)),
        direction=np.array([np.cos(angle), np.sin(angle)], np.float32),
        grain=np.float32(rng.uniform(0.0, 0.15)),
        pattern_waves=sample_waves(rng),
        grain_waves=sample_waves(rng),
    )
