"""GridSample, which reads [N, C, ..] where a grid says, and AffineGrid, which makes such grids."""

from __future__ import annotations

import numpy as np
from tvm import te, tirx

from edgemtl.operators import Array
from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.windows import taps

# Older opsets name the modes of two axes.
MODES = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
PADDING = ("zeros", "border", "reflection")
CUBIC_A = -0.75
# Beyond, float32 has no odd integers; a conversion to an integer would not be defined much further out.
FARTHEST = 2.0**24


def grid_sample(call: Call) -> Tensor:
    """Every output position reads the pixels around its coordinate, which the grid gives from -1 to 1."""
    mode, padding = call.attribute("mode", "linear"), call.attribute("padding_mode", "zeros")
    if mode not in MODES or padding not in PADDING:
        raise Refused(f"GridSample must have a mode of {', '.join(MODES)} and padding {', '.join(PADDING)}")
    if call.main_type.dtype != "float32" or call.type_of("grid").dtype != "float32":
        raise Refused(f"GridSample must be of float32, not {call.main_type.dtype}")
    corners = bool(call.attribute("align_corners", 0))
    sizes, x = call.main_type.shape[2:], call.main()
    axes = [_axis(call, a, size, MODES[mode], padding, corners) for a, size in enumerate(sizes)]
    k = taps([MODES[mode]] * len(sizes))

    def element(n: Expr, c: Expr, *out: Expr) -> Expr:
        pixel = [index(t, n, *out) for (index, _, _), t in zip(axes, k, strict=True)]
        value = x(n, c, *pixel)
        if padding == "zeros":
            inside = [is_inside(t, n, *out) != 0 for (_, is_inside, _), t in zip(axes, k, strict=True)]
            value = tirx.Select(tirx.all(*inside), value, m.f32(0))
        for (_, _, weight), t in zip(axes, k, strict=True):
            value = value * weight(t, n, *out)
        return te.sum(value, axis=k)

    return te.compute(call.result.shape, element, name="sample")


def _axis(call: Call, axis: int, size: int, count: int, padding: str, corners: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel, whether it is inside, and weight of each tap at each output position [taps, N, ..] of an axis."""
    grid, rank = call.tensor("grid"), len(call.main_type.shape) - 2
    shape = call.type_of("grid").shape[:-1]

    def position(n: Expr, *out: Expr) -> Expr:
        value = grid(n, *out, rank - 1 - axis) + m.f32(1)  # the grid's last axis has the coordinates in reverse
        if corners:
            return value / m.f32(2) * m.f32(size - 1)
        return (value * m.f32(size) - m.f32(1)) / m.f32(2)

    coordinates = te.compute(shape, position, name="coordinates")

    def first(*i: Expr) -> Expr:
        """The first pixel, NaN as far out as can be."""
        value = coordinates(*i)
        bounded = tirx.Select(value > m.f32(-FARTHEST), value, m.f32(-FARTHEST))
        bounded = tirx.Select(bounded < m.f32(FARTHEST), bounded, m.f32(FARTHEST))
        whole = tirx.nearbyint(bounded) if count == 1 else tirx.floor(bounded)
        return whole.astype("int32") - (1 if count == 4 else 0)

    firsts = te.compute(shape, first, name="first")
    tapped = (count, *shape)
    index = te.compute(tapped, lambda t, *i: _inside(firsts(*i) + t, size, padding, corners), name="index")
    is_inside = te.compute(
        tapped,
        lambda t, *i: tirx.all(firsts(*i) + t >= 0, firsts(*i) + t < size).astype("int32"),
        name="is_inside",
    )

    def weight(t: Expr, *i: Expr) -> Expr:
        if count == 1:
            return m.f32(1)
        return _kernel(m.absolute(coordinates(*i) - (firsts(*i) + t).astype("float32")), count)

    return index, is_inside, te.compute(tapped, weight, name="weight")


def _inside(pixel: Expr, size: int, padding: str, corners: bool) -> Expr:
    """A pixel of the input for any integer; reflected about the corner pixels' centres or outer borders."""
    if padding == "reflection" and size > 1:
        period = 2 * (size - corners)
        folded = tirx.floormod(pixel, period)
        pixel = tirx.Select(folded < size, folded, period - int(not corners) - folded)
    return tirx.max(tirx.min(pixel, tirx.const(size - 1, "int32")), tirx.const(0, "int32"))


def _kernel(distance: Expr, count: int) -> Expr:
    """The triangle, or the cubic convolution of R. Keys (1981)."""
    one, a = m.f32(1), CUBIC_A
    if count == 2:
        return one - distance
    near = ((m.f32(a + 2)) * distance - m.f32(a + 3)) * distance * distance + one
    far = ((m.f32(a) * distance - m.f32(5 * a)) * distance + m.f32(8 * a)) * distance - m.f32(4 * a)
    return tirx.Select(distance > one, far, near)


def affine_grid(call: Call) -> Tensor:
    """The grid of an affine map theta [N, d, d + 1] of the coordinates of an output of the given size."""
    sizes = (call.integers("size") or ())[2:]
    corners, theta = bool(call.attribute("align_corners", 0)), call.main()
    rank = len(sizes)
    if call.main_type.shape[1:] != (rank, rank + 1):
        raise Refused(f"theta of AffineGrid must be [N, {rank}, {rank + 1}], not {list(call.main_type.shape)}")
    if corners and 1 in sizes:
        raise Refused("AffineGrid with align_corners must have more than one position per axis")
    steps = [call.table(_steps(size, corners)) for size in sizes]

    def element(n: Expr, *index: Expr) -> Expr:
        *place, row = index
        value = theta(n, row, rank)
        # Coordinates are in reverse: x is the last axis.
        for column in range(rank):
            axis = rank - 1 - column
            value = value + theta(n, row, column) * steps[axis][place[axis]]
        return value

    return te.compute(call.result.shape, element, name="affine_grid")


def _steps(size: int, corners: bool) -> Array:
    """Positions from -1 to 1: of the corner pixels' centres, or of their outer borders."""
    if corners:
        return np.linspace(-1, 1, size).astype(np.float32)
    return ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)


OPERATORS: dict[str, Definition] = {"AffineGrid": affine_grid, "GridSample": grid_sample}
