"""Blocks of pixels: to channels and back, and columns that are added where they overlap."""

from __future__ import annotations

import math

from tvm import te, tirx

from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.windows import taps


def depth_to_space(call: Call) -> Tensor:
    """Channels become blocks of pixels: depth, column, row (DCR) or column, row, depth (CRD)."""
    size, mode = call.attribute("blocksize", 1), call.attribute("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refused(f"mode of DepthToSpace must be DCR or CRD, not {mode}")
    x, depth = call.main(), call.result.shape[1]

    def element(n: Expr, c: Expr, h: Expr, w: Expr) -> Expr:
        part = tirx.floormod(h, size) * size + tirx.floormod(w, size)
        channel = part * depth + c if mode == "DCR" else c * (size * size) + part
        return x(n, channel, tirx.floordiv(h, size), tirx.floordiv(w, size))

    return te.compute(call.result.shape, element, name="depth_to_space")


def space_to_depth(call: Call) -> Tensor:
    """Blocks of pixels become channels: row, column, depth (DCR) or depth, row, column (CRD)."""
    size, mode = call.attribute("blocksize", 1), call.attribute("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refused(f"mode of SpaceToDepth must be DCR or CRD, not {mode}")
    x, depth = call.main(), call.main_type.shape[1]

    def element(n: Expr, c: Expr, h: Expr, w: Expr) -> Expr:
        part = tirx.floordiv(c, depth) if mode == "DCR" else tirx.floormod(c, size * size)
        channel = tirx.floormod(c, depth) if mode == "DCR" else tirx.floordiv(c, size * size)
        return x(n, channel, h * size + tirx.floordiv(part, size), w * size + tirx.floormod(part, size))

    return te.compute(call.result.shape, element, name="space_to_depth")


def col2im(call: Call) -> Tensor:
    """Columns [N, C x block, positions] to images: every pixel sums the elements of all blocks that it lies in."""
    image, block = call.integers("image_shape") or (), call.integers("block_shape") or ()
    rank = len(block)
    strides, dilations = call.attribute("strides", (1,) * rank), call.attribute("dilations", (1,) * rank)
    pads = call.attribute("pads", (0,) * (2 * rank))
    counts = [
        (n + pads[a] + pads[rank + a] - (block[a] - 1) * dilations[a] - 1) // strides[a] + 1
        for a, n in enumerate(image)
    ]
    x, k, size = call.main(), taps(block), math.prod(block)
    if min(counts, default=0) < 1 or math.prod(counts) != call.main_type.shape[2]:
        raise Refused(f"Col2Im must have {math.prod(counts)} positions, not {call.main_type.shape[2]}")

    def element(n: Expr, c: Expr, *i: Expr) -> Expr:
        starts = [v + pads[a] - k[a] * dilations[a] for a, v in enumerate(i)]
        place = [tirx.floordiv(start, s) for start, s in zip(starts, strides, strict=True)]
        bounds = [b for p, count in zip(place, counts, strict=True) for b in (p >= 0, p < count)]
        whole = [tirx.floormod(start, s) == 0 for start, s in zip(starts, strides, strict=True) if s > 1]
        tap, position = _flat(k, block), _flat(place, counts)
        zero = tirx.const(0, str(x.dtype))
        return te.sum(tirx.if_then_else(tirx.all(*bounds, *whole), x(n, c * size + tap, position), zero), axis=k)

    return te.compute(call.result.shape, element, name="col2im")


def _flat(index: list[Expr], sizes: tuple[int, ...] | list[int]) -> Expr:
    """The number of a position, the last axis fastest."""
    flat: Expr = 0
    for i, size in zip(index, sizes, strict=True):
        flat = flat * size + i
    return flat


OPERATORS: dict[str, Definition] = {
    "Col2Im": col2im,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
