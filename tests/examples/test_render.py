"""The renderer against geometry worked out by hand, and its labels against each other."""

from __future__ import annotations

import numpy as np
import pytest

from examples.rooms.camera import Camera, orient
from examples.rooms.data import Pool, cached_pool, pack, render_pool
from examples.rooms.labels import BOX, CEILING, CLASSES, CYLINDER, FLOOR, SPHERE, WALL, find_edges
from examples.rooms.lighting import Light, sample_light
from examples.rooms.render import Scene, View, class_shares, render, render_seed, sample_scene
from examples.rooms.room import Room
from examples.rooms.shapes import Ball, Drum, Shape, Slab, reciprocal
from examples.rooms.textures import KINDS, Texture, sample_texture
from examples.rooms.write_scenes import write_scenes

SEEDS = (3, 77, 1234)


def texture() -> Texture:
    return sample_texture(np.random.default_rng(0))


def plain_scene(shapes: tuple[Shape, ...] = (), yaw: float = 0.0, pitch: float = 0.0) -> Scene:
    """A 6 x 3 x 8 m room seen from (0, 1.5, -3) along +z, with no pictures."""
    room = Room(
        np.array([-3, 0, -4], np.float32),
        np.array([3, 3, 4], np.float32),
        {WALL: texture(), FLOOR: texture(), CEILING: texture()},
        (),
    )
    camera = Camera(np.array([0, 1.5, -3], np.float32), orient(yaw, pitch, 0.0), 100.0)
    return Scene(room, shapes, camera, sample_light(np.random.default_rng(1), room))


def view_of(scene: Scene) -> View:
    return render(scene, np.random.default_rng(2))


def plane_depth(scene: Scene, normal: tuple[float, float, float], offset: float) -> np.ndarray:
    """Depth [H, W] of the plane normal . p = offset, by the textbook formula in double precision."""
    rays = scene.camera.rays().astype(np.float64) @ scene.camera.to_world.T.astype(np.float64)
    n = np.array(normal)
    return (offset - n @ scene.camera.position.astype(np.float64)) / (rays @ n)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.4, -0.3), (-0.7, 0.2)])
def test_the_depth_of_an_empty_room_is_that_of_its_nearest_plane(yaw: float, pitch: float) -> None:
    scene = plain_scene(yaw=yaw, pitch=pitch)
    planes = [
        ((1, 0, 0), 3),
        ((1, 0, 0), -3),
        ((0, 1, 0), 0),
        ((0, 1, 0), 3),
        ((0, 0, 1), 4),
        ((0, 0, 1), -4),
    ]
    with np.errstate(divide="ignore"):
        depths = np.stack([plane_depth(scene, n, d) for n, d in planes])
    depths[depths <= 0] = np.inf
    np.testing.assert_allclose(view_of(scene).depth, depths.min(0), rtol=1e-4)


def test_an_empty_room_has_floor_below_ceiling_above_and_wall_between() -> None:
    view = view_of(plain_scene())
    assert view.classes[-1, 64] == FLOOR
    assert view.classes[0, 64] == CEILING
    assert view.classes[48, 64] == WALL


def test_the_camera_frame_is_right_handed_with_x_right_and_y_down() -> None:
    rotation = orient(0.3, -0.2, 0.1).astype(np.float64)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-6)
    view = view_of(plain_scene())
    np.testing.assert_allclose(view.normals[-1, 64], (0, -1, 0), atol=1e-6)
    np.testing.assert_allclose(view.normals[48, 64], (0, 0, -1), atol=1e-6)


def test_a_shape_to_the_right_of_the_view_is_right_of_the_middle() -> None:
    right_of_camera = plain_scene().camera.to_world[:, 0]
    centre = np.array([0, 1.5, 0], np.float32) + right_of_camera
    view = view_of(plain_scene((Ball(centre, 0.4, SPHERE, texture()),)))
    _, columns = np.nonzero(view.classes == SPHERE)
    assert columns.min() > 64


def test_the_depth_of_a_ball_solves_its_quadratic() -> None:
    ball = Ball(np.array([0.2, 1.4, 0.5], np.float32), 0.6, SPHERE, texture())
    scene = plain_scene((ball,), pitch=-0.1)
    view = view_of(scene)
    seen = view.classes == SPHERE
    rays = (scene.camera.rays().astype(np.float64) @ scene.camera.to_world.T.astype(np.float64))[seen]
    for ray, depth in zip(rays[::37], view.depth[seen][::37], strict=True):
        offset = scene.camera.position.astype(np.float64) - ball.centre
        roots = np.roots([ray @ ray, 2 * ray @ offset, offset @ offset - 0.6**2])
        assert depth == pytest.approx(min(roots.real), rel=1e-4)
    assert seen.sum() > 500


@pytest.mark.parametrize(
    "shape",
    [
        Slab(np.array([0.3, 1.0, 1.0], np.float32), np.array([0.5, 0.7, 0.4], np.float32), 0.6, BOX, texture()),
        Drum(np.array([-0.2, 0.8, 0.5], np.float32), 0.5, 0.8, CYLINDER, texture()),
        Ball(np.array([0.0, 1.2, 0.8], np.float32), 0.7, SPHERE, texture()),
    ],
    ids=["slab", "drum", "ball"],
)
def test_points_hit_lie_on_the_shape_and_just_outside_is_not_inside(shape: Shape) -> None:
    scene = plain_scene((shape,), pitch=-0.1)
    rays = (scene.camera.rays() @ scene.camera.to_world.T).reshape(-1, 3)
    distance = shape.hit(scene.camera.position, rays)
    hit = np.isfinite(distance)
    points = scene.camera.position + rays[hit] * distance[hit, None]
    normals, _ = shape.surface(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
    assert ((normals * rays[hit]).sum(1) < 1e-3).all()
    # From a little outside, going back along the normal meets the surface at once; going out never does.
    again = shape.hit(points + normals * np.float32(0.01), -normals)
    np.testing.assert_allclose(again, 0.01, atol=2e-3)
    assert np.isinf(shape.hit(points + normals * np.float32(0.01), normals)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_unit_and_face_the_camera(seed: int) -> None:
    view = render_seed(seed)
    rays = sample_scene(np.random.default_rng(seed)).camera.rays()
    np.testing.assert_allclose(np.linalg.norm(view.normals, axis=-1), 1, atol=1e-3)
    assert ((view.normals * rays).sum(-1) < 1e-3).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_on_planes_normals_agree_with_the_slopes_of_the_depth(seed: int) -> None:
    view = render_seed(seed)
    rays = sample_scene(np.random.default_rng(seed)).camera.rays().astype(np.float64)
    points = rays * view.depth[:, :, None]
    across = points[1:-1, 2:] - points[1:-1, :-2]
    along = points[2:, 1:-1] - points[:-2, 1:-1]
    from_depth = np.cross(along, across)
    from_depth /= np.linalg.norm(from_depth, axis=-1, keepdims=True)
    flat = np.isin(view.classes, (FLOOR, WALL, CEILING))
    flat &= ~near(view.edges)
    cosine = (from_depth * view.normals[1:-1, 1:-1]).sum(-1)[flat[1:-1, 1:-1]]
    assert len(cosine) > 1000
    assert np.quantile(cosine, 0.001) > 0.99


def near(edges: np.ndarray) -> np.ndarray:
    """Pixels within two of an edge."""
    wide = np.zeros_like(edges)
    for down in range(-2, 3):
        for right in range(-2, 3):
            wide |= np.roll(edges, (down, right), (0, 1))
    return wide


def test_edges_of_a_step_are_on_the_nearer_side_and_a_slanted_plane_has_none() -> None:
    rays = Camera(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), 100.0, 8, 8).rays()
    classes = np.zeros((8, 8), np.uint8)
    normals = np.zeros((8, 8, 3), np.float32)
    normals[..., 2] = -1
    depth = np.full((8, 8), 3, np.float32)
    depth[:, :4] = 2
    expected = np.zeros((8, 8), bool)
    expected[:, 3] = True
    np.testing.assert_array_equal(find_edges(classes, depth, normals, rays), expected)
    slanted = np.array([0.8, 0, -0.6])
    steep = (-3 / (rays @ slanted)).astype(np.float32)
    tilted = np.broadcast_to(slanted, (8, 8, 3)).astype(np.float32)
    assert not find_edges(classes, steep, tilted, rays).any()


def test_every_class_border_has_an_edge_on_one_side() -> None:
    view = render_seed(5)
    for axis in (0, 1):
        first, second = (
            (view.classes[:-1], view.classes[1:]) if axis == 0 else (view.classes[:, :-1], view.classes[:, 1:])
        )
        marks = view.edges[:-1] | view.edges[1:] if axis == 0 else view.edges[:, :-1] | view.edges[:, 1:]
        assert marks[first != second].all()


def test_a_shadowed_point_is_darker_than_a_lit_one() -> None:
    empty = plain_scene()
    lamp = Light(
        np.array([0, 2.9, 0], np.float32),
        np.float32(0.9),
        np.float32(0.3),
        np.ones(3, np.float32),
        np.float32(0),
        np.float32(1),
        np.float32(0),
    )
    lid = Slab(np.array([0, 1.2, 0], np.float32), np.array([0.4, 0.02, 0.4], np.float32), 0.0, BOX, texture())
    open_view = view_of(Scene(empty.room, (), empty.camera, lamp))
    shaded = view_of(Scene(empty.room, (lid,), empty.camera, lamp))
    floor = (shaded.classes == FLOOR) & (open_view.classes == FLOOR)
    change = shaded.image.astype(int).sum(-1) - open_view.image.astype(int).sum(-1)
    assert change[floor].max() <= 0
    assert change[floor].min() < -20


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_bits_and_another_seed_others(seed: int) -> None:
    first, again, other = render_seed(seed), render_seed(seed), render_seed(seed + 1)
    for name in ("image", "classes", "depth", "normals", "edges"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.image != other.image).any()


def test_a_pool_does_not_depend_on_the_number_of_processes_and_is_cached(tmp_path) -> None:
    alone, shared = render_pool(40, 6, 1), render_pool(40, 6, 2)
    cached = cached_pool(tmp_path, 40, 6, 1)
    for pool in (shared, cached, cached_pool(tmp_path, 40, 6, 1)):
        assert_equal_pools(pool, alone)


def assert_equal_pools(pool: Pool, expected: Pool) -> None:
    for name in ("image", "classes", "depth", "normals", "edges"):
        np.testing.assert_array_equal(getattr(pool, name), getattr(expected, name))


def test_packing_keeps_depth_to_a_thousandth_and_normals_to_a_degree() -> None:
    view = render_seed(9)
    pool = pack([view])
    np.testing.assert_allclose(pool.depth[0].astype(np.float32), view.depth, rtol=1e-3)
    unpacked = pool.normals[0].astype(np.float64)
    cosine = (unpacked * view.normals).sum(-1) / np.linalg.norm(unpacked, axis=-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1


def test_every_class_occurs_and_none_takes_more_than_six_tenths() -> None:
    shares = class_shares([render_seed(seed) for seed in range(40)], len(CLASSES))
    assert shares.min() > 0.005
    assert shares.max() < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_textures_give_colours_in_range(kind: str) -> None:
    rng = np.random.default_rng(4)
    mix = tuple(float(kind == other) for other in KINDS)
    uv = rng.uniform(-3, 3, (500, 2)).astype(np.float32)
    colour = sample_texture(rng, mix).colour(uv)
    assert colour.shape == (500, 3)
    assert colour.min() >= 0
    assert colour.max() <= 1


def test_the_reciprocal_of_nearly_nothing_is_finite_and_keeps_its_sign() -> None:
    values = np.array([0.0, -0.0, 1e-30, -1e-30, 2.0, -4.0], np.float32)
    result = reciprocal(values)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(np.sign(result), [1, 1, 1, -1, 1, -1])
    np.testing.assert_allclose(result[4:], [0.5, -0.25])


def test_written_scenes_read_back(tmp_path) -> None:
    from PIL import Image

    write_scenes(tmp_path, 1, first_seed=12)
    view = render_seed(12)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "images/0000.png")), view.image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "semseg/0000.png")), view.classes)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "edges/0000.png")) > 0, view.edges)
    np.testing.assert_array_equal(np.load(tmp_path / "depth/0000.npy"), view.depth)
    np.testing.assert_array_equal(np.load(tmp_path / "normals/0000.npy"), view.normals.transpose(2, 0, 1))
