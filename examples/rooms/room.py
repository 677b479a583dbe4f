"""The room itself: an axis-aligned box seen from inside, with pictures on its walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.rooms.labels import CEILING, FLOOR, PICTURE, WALL, Bytes, Floats, Mask
from examples.rooms.shapes import reciprocal
from examples.rooms.textures import Texture, sample_texture

_FRAME_M = np.float32(0.06)


@dataclass(frozen=True)
class Picture:
    """A framed picture on the wall at the low (side 0) or high (side 1) end of axis 0 or 2; metres."""

    axis: int
    side: int
    across: float
    up: float
    half_width: float
    half_height: float
    texture: Texture

    def covers(self, axis: NDArray[np.intp], sign: Floats, uv: Floats) -> Mask:
        """Which wall points [N] lie on the picture."""
        on_wall = (axis == self.axis) & (sign == 2 * self.side - 1)
        inside: Mask = np.abs(uv[:, 0] - self.across) < self.half_width
        result: Mask = on_wall & inside & (np.abs(uv[:, 1] - self.up) < self.half_height)
        return result

    def colour(self, uv: Floats) -> Floats:
        """Colour [N, 3] at wall coordinates uv [N, 2]: a dark frame round a texture."""
        framed = np.abs(uv[:, 0] - self.across) > self.half_width - _FRAME_M
        framed |= np.abs(uv[:, 1] - self.up) > self.half_height - _FRAME_M
        frame: Floats = self.texture.other * np.float32(0.3)
        return np.where(framed[:, None], frame, self.texture.colour(uv * np.float32(2)))


@dataclass(frozen=True)
class Room:
    """``low`` and ``high`` [3] are opposite corners in metres; ``textures`` by class id."""

    low: Floats
    high: Floats
    textures: dict[int, Texture]
    pictures: tuple[Picture, ...]

    def hit(self, origin: Floats, rays: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Distance [N] to the shell along rays [N, 3] from inside, and the axis [N] of the face hit."""
        inverse = reciprocal(rays)
        distance = (np.where(inverse > 0, self.high, self.low) - origin) * inverse
        axis = np.argmin(distance, 1)
        return distance[np.arange(len(axis)), axis], axis

    def surface(self, points: Floats, rays: Floats, axis: NDArray[np.intp]) -> tuple[Floats, Bytes, Floats]:
        """Inward normals [N, 3], class ids [N] and colours [N, 3] of the shell points hit."""
        row = np.arange(len(axis))
        sign = np.sign(rays[row, axis])
        normals = np.zeros_like(points)
        normals[row, axis] = -sign
        classes = np.where(axis != 1, WALL, np.where(sign < 0, FLOOR, CEILING)).astype(np.uint8)
        on_wall = np.stack([np.where(axis == 0, points[:, 2], points[:, 0]), points[:, 1]], 1)
        uv = np.where((axis == 1)[:, None], points[:, ::2], on_wall)
        colours = np.empty_like(points)
        for class_id, texture in self.textures.items():
            seen = classes == class_id
            colours[seen] = texture.colour(uv[seen])
        for picture in self.pictures:
            seen = picture.covers(axis, sign, uv)
            colours[seen] = picture.colour(uv[seen])
            classes[seen] = PICTURE
        return normals, classes, colours


def sample_room(rng: np.random.Generator) -> Room:
    """Draw a room of 4-7 m by 2.3-3.2 m by 4-7 m."""
    size = np.array([rng.uniform(4, 7), rng.uniform(2.3, 3.2), rng.uniform(4, 7)])
    textures = {
        WALL: sample_texture(rng, (0.5, 0.05, 0.15, 0.2, 0.1), 0.35, 0.95, 0.35),
        FLOOR: sample_texture(rng, (0.1, 0.3, 0.25, 0.25, 0.1), 0.1, 0.8, 0.6),
        CEILING: sample_texture(rng, (0.8, 0.0, 0.1, 0.1, 0.0), 0.6, 1.0, 0.3),
    }
    walls = [(axis, side) for axis in (0, 2) for side in (0, 1) if rng.random() < 0.75]
    pictures = tuple(_sample_picture(rng, size, axis, side) for axis, side in walls)
    low = np.array([-size[0] / 2, 0, -size[2] / 2], np.float32)
    high = np.array([size[0] / 2, size[1], size[2] / 2], np.float32)
    return Room(low, high, textures, pictures)


def _sample_picture(rng: np.random.Generator, size: NDArray[np.float64], axis: int, side: int) -> Picture:
    span = float(size[2 - axis])
    half_width, half_height = rng.uniform(0.25, min(0.8, span / 4)), rng.uniform(0.2, 0.5)
    return Picture(
        axis=axis,
        side=side,
        across=rng.uniform(-span / 2 + half_width, span / 2 - half_width),
        up=rng.uniform(1.1 + half_height / 2, float(size[1]) - half_height - 0.1),
        half_width=half_width,
        half_height=half_height,
        texture=sample_texture(rng, (0.2, 0.1, 0.2, 0.4, 0.1), 0.05, 1.0),
    )
