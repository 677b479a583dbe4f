"""Light: one lamp with shadows and highlights, ambient light with darker corners, a camera's response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from examples.rooms.labels import Bytes, Floats, Mask
from examples.rooms.room import Room
from examples.rooms.shapes import Shape


@dataclass(frozen=True)
class Light:
    """A lamp at ``position`` [3] (metres) and the camera's response; powers are relative."""

    position: Floats
    power: np.float32
    ambient: np.float32
    tint: Floats
    gloss: np.float32
    inverse_gamma: np.float32
    noise: np.float32


@dataclass(frozen=True)
class Surface:
    """What the rays hit: points, unit normals and colours [N, 3] in the world, N in picture order."""

    points: Floats
    normals: Floats
    colours: Floats
    is_object: Mask


def sample_light(rng: np.random.Generator, room: Room) -> Light:
    """Draw a lamp below the ceiling and an exposure."""
    size = (room.high - room.low).astype(np.float64)
    position = (
        rng.uniform(-0.35, 0.35) * size[0],
        size[1] - rng.uniform(0.1, 0.5),
        rng.uniform(-0.35, 0.35) * size[2],
    )
    return Light(
        position=np.array(position, np.float32),
        power=np.float32(rng.uniform(0.45, 0.9)),
        ambient=np.float32(rng.uniform(0.3, 0.5)),
        tint=(1 + rng.normal(size=3) * 0.06).astype(np.float32),
        gloss=np.float32(max(0.0, rng.uniform(-0.1, 0.35))),
        inverse_gamma=np.float32(1 / rng.uniform(1.2, 1.7)),
        noise=np.float32(rng.uniform(0.003, 0.02)),
    )


def shade(surface: Surface, rays: Floats, room: Room, shapes: Sequence[Shape], light: Light) -> Floats:
    """Linear colour [N, 3] of the surface seen along rays [N, 3] in the world."""
    to_lamp = light.position - surface.points
    squared = (to_lamp * to_lamp).sum(-1)
    towards = to_lamp / np.sqrt(squared)[:, None]
    lit = _unshadowed(surface, to_lamp, squared, shapes)
    diffuse = np.maximum((surface.normals * towards).sum(-1), 0) * lit
    falloff = np.float32(0.6) + np.float32(0.09) * squared
    level = _ambient(surface, room, light) + light.power * diffuse / falloff
    colour = surface.colours * level[:, None] * light.tint
    result: Floats = colour + _highlight(surface, rays, towards, light, lit)[:, None]
    return result


def _unshadowed(surface: Surface, to_lamp: Floats, squared: Floats, shapes: Sequence[Shape]) -> Floats:
    """1 where the lamp is seen, 0 in shadow [N]; only rays that pass a bounding sphere are cast."""
    lit = np.ones(len(squared), np.float32)
    start = surface.points + surface.normals * np.float32(2e-3)
    for shape in shapes:
        offset = shape.centre - surface.points
        along = np.clip((offset * to_lamp).sum(-1) / squared, 0, 1)
        miss = offset - to_lamp * along[:, None]
        near = np.flatnonzero((miss * miss).sum(-1) < shape.radius_m**2)
        if len(near):
            lit[near[shape.hit(start[near], to_lamp[near]) < 1]] = 0
    return lit


def _ambient(surface: Surface, room: Room, light: Light) -> Floats:
    """Light from all round [N]: more from above, less in corners."""
    level = light.ambient * (np.float32(0.75) + np.float32(0.25) * surface.normals[:, 1])
    for axis in range(3):
        across = np.abs(surface.normals[:, axis]) < 0.7
        for wall in (room.low[axis], room.high[axis]):
            away = np.abs(surface.points[:, axis] - wall)
            level = level * (1 - np.float32(0.25) * np.exp(-4 * away) * across)
    return level


def _highlight(surface: Surface, rays: Floats, towards: Floats, light: Light, lit: Floats) -> Floats:
    """Blinn-Phong highlight [N] on objects; the room itself is matt."""
    if light.gloss <= 0:
        return np.zeros(len(lit), np.float32)
    halfway = towards - rays / np.linalg.norm(rays, axis=1, keepdims=True)
    cosine = (surface.normals * halfway).sum(-1) / np.linalg.norm(halfway, axis=1)
    result: Floats = light.gloss * np.maximum(cosine, 0) ** 40 * lit * surface.is_object
    return result


def expose(colour: Floats, light: Light, rng: np.random.Generator) -> Bytes:
    """Linear colour [..., 3] -> 8-bit picture, with gamma and sensor noise."""
    response = np.clip(colour, 0, 1) ** light.inverse_gamma
    noisy = response + rng.standard_normal(colour.shape, np.float32) * light.noise
    return (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)
