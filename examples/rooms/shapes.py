"""Solid shapes a ray can hit.  World frame: y up, metres."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from examples.rooms.labels import Floats
from examples.rooms.textures import Texture

NEAREST_HIT: Final = np.float32(1e-4)


class Shape(Protocol):
    """A solid: ``centre`` [3] and ``radius_m`` bound it; distances are in multiples of the ray."""

    centre: Floats
    radius_m: float
    class_id: int
    texture: Texture

    def hit(self, origins: Floats, rays: Floats) -> Floats:
        """Distance [N] along rays [N, 3] from origins [3] or [N, 3]; inf where missed."""
        ...

    def surface(self, points: Floats) -> tuple[Floats, Floats]:
        """Outward unit normals [N, 3] and texture coordinates [N, 2] at surface points [N, 3]."""
        ...


def reciprocal(values: Floats) -> Floats:
    """1 / values with near-zero values held away from zero, their sign kept."""
    tiny = np.float32(1e-7)
    bounded: Floats = np.where(np.abs(values) < tiny, np.where(values < 0, -tiny, tiny), values)
    return np.reciprocal(bounded)


def _first_hit(enter: Floats, leave: Floats) -> Floats:
    return np.where((enter < leave) & (enter > NEAREST_HIT), enter, np.float32(np.inf))


class Slab:
    """A box turned about the vertical axis; ``half`` [3] holds its half sizes in metres."""

    def __init__(self, centre: Floats, half: Floats, yaw: float, class_id: int, texture: Texture) -> None:
        self.centre, self.half = np.asarray(centre, np.float32), np.asarray(half, np.float32)
        self.radius_m = float(np.linalg.norm(self.half))
        self.class_id, self.texture = class_id, texture
        cos, sin = np.cos(yaw), np.sin(yaw)
        self._to_local = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)

    def hit(self, origins: Floats, rays: Floats) -> Floats:
        """Slab method: the last of three entries against the first of three exits."""
        start = (origins - self.centre) @ self._to_local
        inverse = reciprocal(rays @ self._to_local)
        one, two = (-self.half - start) * inverse, (self.half - start) * inverse
        low, high = np.minimum(one, two), np.maximum(one, two)
        enter = np.maximum(np.maximum(low[:, 0], low[:, 1]), low[:, 2])
        leave = np.minimum(np.minimum(high[:, 0], high[:, 1]), high[:, 2])
        return _first_hit(enter, leave)

    def surface(self, points: Floats) -> tuple[Floats, Floats]:
        """The face is the axis on which the point lies furthest out."""
        local = (points - self.centre) @ self._to_local
        axis = np.argmax(np.abs(local) / self.half, 1)
        row = np.arange(len(local))
        normals = np.zeros_like(local)
        normals[row, axis] = np.sign(local[row, axis])
        uv = np.stack([local[row, (axis + 1) % 3], local[row, (axis + 2) % 3]], 1)
        turned: Floats = (normals @ self._to_local.T).astype(np.float32, copy=False)
        return turned, uv


class Ball:
    """A sphere."""

    def __init__(self, centre: Floats, radius_m: float, class_id: int, texture: Texture) -> None:
        self.centre, self.radius_m = np.asarray(centre, np.float32), float(radius_m)
        self.class_id, self.texture = class_id, texture

    def hit(self, origins: Floats, rays: Floats) -> Floats:
        """The smaller root of |origin + t ray - centre| = radius."""
        offset = origins - self.centre
        a = (rays * rays).sum(-1)
        b = (rays * offset).sum(-1)
        c = (offset * offset).sum(-1) - np.float32(self.radius_m**2)
        inside = b * b - a * c
        enter = (-b - np.sqrt(np.maximum(inside, 0))) / a
        return np.where((inside > 0) & (enter > NEAREST_HIT), enter, np.float32(np.inf))

    def surface(self, points: Floats) -> tuple[Floats, Floats]:
        """Texture coordinates are longitude and latitude."""
        normals: Floats = (points - self.centre) / np.float32(self.radius_m)
        longitude: Floats = np.arctan2(normals[:, 0], normals[:, 2])
        latitude: Floats = np.arcsin(np.clip(normals[:, 1], -1, 1))
        uv: Floats = np.stack([longitude, latitude], 1) * np.float32(0.6)
        return normals, uv


class Drum:
    """A vertical cylinder with flat caps; ``centre`` at half its height."""

    def __init__(self, centre: Floats, across_m: float, half_height_m: float, class_id: int, texture: Texture) -> None:
        self.centre = np.asarray(centre, np.float32)
        self.across_m, self.half_height_m = np.float32(across_m), np.float32(half_height_m)
        self.radius_m = float(np.hypot(across_m, half_height_m))
        self.class_id, self.texture = class_id, texture

    def hit(self, origins: Floats, rays: Floats) -> Floats:
        """The infinite cylinder cut by the two cap planes."""
        start = origins - self.centre
        x, y, z = start[..., 0], start[..., 1], start[..., 2]
        a = rays[:, 0] ** 2 + rays[:, 2] ** 2 + np.float32(1e-9)
        b = x * rays[:, 0] + z * rays[:, 2]
        inside = b * b - a * (x * x + z * z - self.across_m**2)
        root = np.sqrt(np.maximum(inside, 0))
        inverse = reciprocal(rays[:, 1])
        bottom, top = (-self.half_height_m - y) * inverse, (self.half_height_m - y) * inverse
        enter = np.maximum((-b - root) / a, np.minimum(bottom, top))
        leave = np.minimum((-b + root) / a, np.maximum(bottom, top))
        return np.where(inside > 0, _first_hit(enter, leave), np.float32(np.inf))

    def surface(self, points: Floats) -> tuple[Floats, Floats]:
        """Caps are flat and textured from above, the side is unrolled."""
        local = points - self.centre
        zero = np.zeros(len(local), np.float32)
        across = np.hypot(local[:, 0], local[:, 2])
        on_cap = (np.abs(local[:, 1]) / self.half_height_m > across / self.across_m)[:, None]
        cap = np.stack([zero, np.sign(local[:, 1]), zero], 1)
        side = np.stack([local[:, 0], zero, local[:, 2]], 1) / np.maximum(across, np.float32(1e-6))[:, None]
        around = np.arctan2(local[:, 0], local[:, 2]) * self.across_m
        uv = np.where(on_cap, local[:, ::2], np.stack([around, local[:, 1]], 1))
        return np.where(on_cap, cap, side), uv
