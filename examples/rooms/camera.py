"""A pinhole camera: x right, y down, z forward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.rooms.labels import HEIGHT_PX, WIDTH_PX, Floats
from examples.rooms.room import Room
from examples.rooms.shapes import Shape


@dataclass(frozen=True)
class Camera:
    """``position`` [3] in the world (metres), ``to_world`` [3, 3] with columns right, down, forward."""

    position: Floats
    to_world: Floats
    focal_px: float
    height_px: int = HEIGHT_PX
    width_px: int = WIDTH_PX

    @property
    def forward(self) -> Floats:
        """The direction of view [3] in the world."""
        return self.to_world[:, 2]

    def rays(self) -> Floats:
        """Rays [H, W, 3] through the pixel centres in the camera frame, z = 1: distance is z-depth."""
        v, u = np.mgrid[0 : self.height_px, 0 : self.width_px].astype(np.float32)
        focal = np.float32(self.focal_px)
        x = (u + np.float32(0.5 - self.width_px / 2)) / focal
        y = (v + np.float32(0.5 - self.height_px / 2)) / focal
        return np.stack([x, y, np.ones_like(x)], -1)

    def window(self, shape: Shape) -> tuple[slice, slice] | None:
        """Rows and columns that surely hold the shape's bounding sphere; None if out of view."""
        x, y, z = (float(c) for c in self.to_world.T @ (shape.centre - self.position))
        radius = shape.radius_m
        if z < radius + 0.05:
            whole = (slice(0, self.height_px), slice(0, self.width_px))
            return whole if z > -radius else None
        columns = self._span(x, z, radius, self.width_px)
        rows = self._span(y, z, radius, self.height_px)
        return None if rows is None or columns is None else (rows, columns)

    def _span(self, offset: float, z: float, radius: float, size_px: int) -> slice | None:
        ends = [
            self.focal_px * (offset + side) / depth + size_px / 2
            for side in (-radius, radius)
            for depth in (z - radius, z + radius)
        ]
        first, last = max(0, int(min(ends)) - 1), min(size_px, int(max(ends)) + 2)
        return slice(first, last) if first < last else None


def orient(yaw: float, pitch: float, roll: float) -> Floats:
    """Rotation [3, 3] from camera to world; yaw turns about the vertical, negative pitch looks down."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([-np.cos(yaw), 0, np.sin(yaw)])
    down = np.cross(forward, right)
    turned_right = np.cos(roll) * right + np.sin(roll) * down
    turned_down = np.cos(roll) * down - np.sin(roll) * right
    return np.stack([turned_right, turned_down, forward], 1).astype(np.float32)


def sample_camera(rng: np.random.Generator, room: Room) -> Camera:
    """Draw a camera near one wall, at head height, looking inwards and a little down."""
    yaw = rng.uniform(0, 2 * np.pi)
    inwards = np.array([np.sin(yaw), 0, np.cos(yaw)])
    half = (room.high - room.low)[::2].astype(np.float64) / 2
    reach = 0.9 * np.min((half - 0.3) / np.maximum(np.abs(inwards[::2]), 1e-3))
    position = -inwards * rng.uniform(0.5, 1) * reach
    position[1] = rng.uniform(1.0, 1.9)
    pitch, roll = rng.uniform(-0.5, 0.0), rng.normal() * 0.04
    rotation = orient(yaw + rng.normal() * 0.15, pitch, roll)
    field_of_view = np.deg2rad(rng.uniform(58, 72))
    return Camera(position.astype(np.float32), rotation, float(WIDTH_PX / (2 * np.tan(field_of_view / 2))))
