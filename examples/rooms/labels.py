"""What a scene is labelled with: the classes, the picture size and the edge rule."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

CLASSES: Final = ("floor", "wall", "ceiling", "box", "sphere", "cylinder", "table", "picture")
FLOOR, WALL, CEILING, BOX, SPHERE, CYLINDER, TABLE, PICTURE = range(len(CLASSES))
HEIGHT_PX: Final = 96
WIDTH_PX: Final = 128

DEPTH_JUMP: Final = 0.06
"""Relative departure from the neighbour's plane that counts as a depth edge."""
CREASE_COSINE: Final = 0.75
"""Cosine between neighbouring normals under which the surface counts as creased (41 degrees)."""


def find_edges(classes: Bytes, depth: Floats, normals: Floats, rays: Floats) -> Mask:
    """Mark class borders, creases and depth jumps, one pixel wide.

    classes [H, W], depth [H, W] in metres, normals [H, W, 3] and rays [H, W, 3] (z = 1) in the
    camera frame.  Of two neighbours that differ, the nearer one is marked, so that an outline
    belongs to the object it outlines.
    """
    height, width = classes.shape
    edges = np.zeros((height, width), np.bool_)
    for down, right in ((0, 1), (1, 0)):
        first = (slice(0, height - down), slice(0, width - right))
        second = (slice(down, None), slice(right, None))
        broken = _differs(classes, depth, normals, rays, first, second)
        first_is_nearer = depth[first] <= depth[second]
        edges[first] |= broken & first_is_nearer
        edges[second] |= broken & ~first_is_nearer
    return edges


_Window = tuple[slice, slice]


def _differs(classes: Bytes, depth: Floats, normals: Floats, rays: Floats, first: _Window, second: _Window) -> Mask:
    """Whether two neighbouring windows of the picture show different surfaces, pixel by pixel."""
    normal, near, far = normals[first], depth[first], depth[second]
    facing = (normal * rays[second]).sum(-1)
    facing = np.where(np.abs(facing) < 0.02, np.float32(-0.02), facing)
    expected = near * (normal * rays[first]).sum(-1) / facing
    jump = (np.abs(expected - far) > DEPTH_JUMP * far) & (np.abs(near - far) > DEPTH_JUMP * far)
    crease = (normal * normals[second]).sum(-1) < CREASE_COSINE
    result: Mask = (classes[first] != classes[second]) | crease | jump
    return result
