"""Ray casting of one furnished room, with exact labels for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.rooms.camera import Camera, sample_camera
from examples.rooms.furniture import sample_furniture
from examples.rooms.labels import Bytes, Floats, Mask, find_edges
from examples.rooms.lighting import Light, Surface, expose, sample_light, shade
from examples.rooms.room import Room, sample_room
from examples.rooms.shapes import Shape


@dataclass(frozen=True)
class Scene:
    """Everything a picture is made from."""

    room: Room
    shapes: tuple[Shape, ...]
    camera: Camera
    light: Light


@dataclass(frozen=True)
class View:
    """One rendered picture with its labels.

    image [H, W, 3] uint8; classes [H, W] uint8 ids of CLASSES; depth [H, W] float32 z-depth in
    metres; normals [H, W, 3] float32 unit vectors in the camera frame (x right, y down, z forward),
    facing the camera; edges [H, W] bool, one pixel wide.
    """

    image: Bytes
    classes: Bytes
    depth: Floats
    normals: Floats
    edges: Mask


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a room, a camera in it, its furniture and its light."""
    room = sample_room(rng)
    camera = sample_camera(rng, room)
    return Scene(room, tuple(sample_furniture(rng, room, camera)), camera, sample_light(rng, room))


def render_seed(seed: int) -> View:
    """Draw and render scene number ``seed``; the same number gives the same bits."""
    rng = np.random.default_rng(seed)
    return render(sample_scene(rng), rng)


def render(scene: Scene, rng: np.random.Generator) -> View:
    """Cast one ray a pixel; ``rng`` draws the sensor noise alone."""
    camera = scene.camera
    shape = (camera.height_px, camera.width_px)
    rays = camera.rays()
    world_rays = rays.reshape(-1, 3) @ camera.to_world.T
    depth, owner, axis = trace(scene, world_rays)
    surface, classes = _surface(scene, world_rays, depth, owner, axis)
    colour = shade(surface, world_rays, scene.room, scene.shapes, scene.light)
    image = expose(colour, scene.light, rng).reshape(*shape, 3)
    normals = (surface.normals @ camera.to_world).astype(np.float32).reshape(*shape, 3)
    classes, depth = classes.reshape(shape), depth.reshape(shape)
    return View(image, classes, depth, normals, find_edges(classes, depth, normals, rays))


def trace(scene: Scene, rays: Floats) -> tuple[Floats, NDArray[np.int16], NDArray[np.intp]]:
    """First hits of rays [H*W, 3]: z-depth [H*W], index of the shape hit or -1 for the shell, shell axis."""
    camera = scene.camera
    distance, axis = scene.room.hit(camera.position, rays)
    grid = distance.astype(np.float32).reshape(camera.height_px, camera.width_px)
    owner = np.full(grid.shape, -1, np.int16)
    ray_grid = rays.reshape(*grid.shape, 3)
    for index, shape in enumerate(scene.shapes):
        window = camera.window(shape)
        if window is None:
            continue
        reached = shape.hit(camera.position, ray_grid[window].reshape(-1, 3)).reshape(grid[window].shape)
        nearer = reached < grid[window]
        grid[window][nearer] = reached[nearer]
        owner[window][nearer] = index
    return grid.reshape(-1), owner.reshape(-1), axis


def _surface(
    scene: Scene, rays: Floats, depth: Floats, owner: NDArray[np.int16], axis: NDArray[np.intp]
) -> tuple[Surface, Bytes]:
    """Points, normals, colours and class ids of everything hit."""
    points = scene.camera.position + rays * depth[:, None]
    normals, classes, colours = scene.room.surface(points, rays, axis)
    for index, shape in enumerate(scene.shapes):
        seen = np.flatnonzero(owner == index)
        if len(seen):
            normals[seen], uv = shape.surface(points[seen])
            classes[seen] = shape.class_id
            colours[seen] = shape.texture.colour(uv.astype(np.float32))
    return Surface(points, normals, colours, owner >= 0), classes


def class_shares(views: Sequence[View], classes: int) -> NDArray[np.float64]:
    """Share of pixels [classes] each class takes in the views."""
    counts = sum(np.bincount(view.classes.ravel(), minlength=classes) for view in views)
    shares: NDArray[np.float64] = np.asarray(counts, np.float64) / np.sum(counts)
    return shares
