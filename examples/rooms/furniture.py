"""What stands in a room: tables, and boxes, balls and drums on the floor or on a table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from examples.rooms.camera import Camera
from examples.rooms.labels import BOX, CYLINDER, SPHERE, TABLE
from examples.rooms.room import Room
from examples.rooms.shapes import Ball, Drum, Shape, Slab
from examples.rooms.textures import sample_texture

_ATTEMPTS = 12
_FARTHEST_M = 4.5
_HALF_VIEW = 0.62


@dataclass
class _Ground:
    """Free places on the floor inside the view."""

    room: Room
    camera: Camera
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def place(self, rng: np.random.Generator, radius: float) -> tuple[float, float] | None:
        """Claim a disc of ``radius`` metres; None when no free one was found."""
        heading = np.arctan2(self.camera.forward[0], self.camera.forward[2])
        for _ in range(_ATTEMPTS):
            angle = heading + rng.uniform(-_HALF_VIEW, _HALF_VIEW)
            away = rng.uniform(1.1 + radius, _FARTHEST_M)
            x = float(self.camera.position[0] + away * np.sin(angle))
            z = float(self.camera.position[2] + away * np.cos(angle))
            if self._is_free(x, z, radius):
                self.taken.append((x, z, radius))
                return x, z
        return None

    def _is_free(self, x: float, z: float, radius: float) -> bool:
        if abs(x) > self.room.high[0] - radius or abs(z) > self.room.high[2] - radius:
            return False
        return all((x - u) ** 2 + (z - v) ** 2 > (radius + r) ** 2 for u, v, r in self.taken)


def sample_furniture(rng: np.random.Generator, room: Room, camera: Camera) -> list[Shape]:
    """Draw a table three times in four, and three to six objects, none overlapping on the floor."""
    ground = _Ground(room, camera)
    shapes: list[Shape] = []
    if rng.random() < 0.75:
        shapes += _sample_table(rng, ground)
    for _ in range(int(rng.integers(3, 7))):
        size = rng.uniform(0.2, 0.62)
        spot = ground.place(rng, size)
        if spot is not None:
            kind = int(rng.choice(3, p=(0.42, 0.3, 0.28)))
            shapes.append(_sample_object(rng, kind, (spot[0], 0.0, spot[1]), size))
    return shapes


def _sample_object(rng: np.random.Generator, kind: int, foot: tuple[float, float, float], size: float) -> Shape:
    """A box, ball or drum (kind 0, 1, 2) whose lowest point stands at ``foot``."""
    x, y, z = foot
    texture = sample_texture(rng)
    if kind == 0:
        sides = (rng.uniform(0.5, 1), rng.uniform(0.4, 1.3), rng.uniform(0.5, 1))
        half = (np.array(sides) * size * 0.75).astype(np.float32)
        return Slab(np.array([x, y + half[1], z], np.float32), half, rng.uniform(0, np.pi), BOX, texture)
    if kind == 1:
        return Ball(np.array([x, y + size * 0.8, z], np.float32), size * 0.8, SPHERE, texture)
    half_height = size * rng.uniform(0.5, 1.6)
    centre = np.array([x, y + half_height, z], np.float32)
    return Drum(centre, size * rng.uniform(0.4, 0.8), half_height, CYLINDER, texture)


def _sample_table(rng: np.random.Generator, ground: _Ground) -> list[Shape]:
    """A top, four legs and up to two small objects on it."""
    half_x, half_z, height = rng.uniform(0.45, 0.8), rng.uniform(0.35, 0.55), rng.uniform(0.5, 0.85)
    spot = ground.place(rng, float(np.hypot(half_x, half_z)))
    if spot is None:
        return []
    yaw = rng.uniform(0, np.pi)
    texture = sample_texture(rng, (0.4, 0.0, 0.3, 0.3, 0.0), 0.15, 0.8, 0.4)
    half_thick = 0.03

    def at(right: float, up: float, ahead: float) -> tuple[float, float, float]:
        x = spot[0] + np.cos(yaw) * right - np.sin(yaw) * ahead
        return float(x), up, float(spot[1] + np.sin(yaw) * right + np.cos(yaw) * ahead)

    def slab(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Slab:
        return Slab(np.array(centre, np.float32), np.array(half, np.float32), yaw, TABLE, texture)

    shapes: list[Shape] = [slab(at(0, height - half_thick, 0), (half_x, half_thick, half_z))]
    leg = height / 2 - half_thick
    for right in (-1, 1):
        for ahead in (-1, 1):
            shapes.append(slab(at(right * (half_x - 0.05), leg, ahead * (half_z - 0.05)), (0.035, leg, 0.035)))
    for side in (-1, 1):
        if rng.random() < 0.6:
            kind, size = int(rng.integers(3)), rng.uniform(0.1, 0.2)
            shapes.append(_sample_object(rng, kind, at(side * half_x * 0.5, height, 0), size))
    return shapes
