"""Bilinear resizing of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, attribute, dtype_of, is_op, operand, result, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant
from edgemtl.lowering.match import Group, Refusal
from edgemtl.lowering.patterns.generic import node_call
from edgemtl.operators import Array, Resample, Resize
from edgemtl.tvm_bridge.generic import Refused, taps_of


@dataclass(frozen=True)
class Bilinear:
    """A bilinear Resize of an image [1, C, H, W]: what it reads, and output / input size."""

    node: ir.Node
    source: ir.Value
    ratio: tuple[float, float]


def bilinear(node: ir.Node | None) -> Bilinear | Refusal | None:
    """The node as a half-pixel bilinear Resize of height and width; a Refusal for another kind of Resize."""
    source = operand(node, "X") if node is not None and is_op(node, "Resize") else None
    if node is None or source is None:
        return None
    before, after = shape_of(source), shape_of(result(node))
    if len(before) != 4 or before[0] != 1 or before[:2] != after[:2] or dtype_of(source) != "float32":
        return Refusal(f"Resize must change height and width of float32 [1, C, H, W], not {before} to {after}", "")
    kind = attribute(node, "mode", "nearest"), attribute(node, "coordinate_transformation_mode", "half_pixel")
    if kind[0] != "linear" or not _is_half_pixel(kind[1], after):
        return Refusal(
            f"Resize must be linear with half_pixel coordinates, not {kind[0]} with {kind[1]}",
            "export with mode='bilinear', align_corners=False",
        )
    if attribute(node, "antialias", 0):
        return Refusal("Resize must be without antialias", "export with antialias=False")
    if not _scales_are_ratios(node, before, after):
        return Refusal("Resize scales must be output size / input size", "give sizes instead of scales")
    return Bilinear(node, source, (after[2] / before[2], after[3] / before[3]))


def _is_half_pixel(coordinates: str, after: tuple[int, ...]) -> bool:
    """Whether the coordinates are those of half_pixel; pytorch's differ for an output of one pixel."""
    return coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and 1 not in after[2:])


def _scales_are_ratios(node: ir.Node, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether every axis is scaled by its sizes: not by a scale that leaves a fraction, nor by that of another axis."""
    scales = operand(node, "scales")
    if scales is None or shape_of(scales) == (0,):
        return attribute(node, "keep_aspect_ratio_policy", "stretch") == "stretch"
    given, axes = array_of(scales), attribute(node, "axes", (0, 1, 2, 3))
    return given is not None and np.allclose(given, [after[a] / before[a] for a in axes], rtol=1e-6, atol=0)


def match_resize(node: ir.Node) -> Group | Refusal | None:
    """Resize of a float32 image [1, C, H, W] to any height and width: linear, half_pixel coordinates, no antialias."""
    resized = bilinear(node)
    if not isinstance(resized, Bilinear):
        return resized
    return Group("resize", (node,), lambda em: _emit(em, resized))


def _emit(em: Emitter, resized: Bilinear) -> None:
    """To planes where the result is the graph's, since outputs are NCHW; else channels-last."""
    value, pixels = result(resized.node), em.pixels(resized.source)
    _, channels, height, width = shape_of(resized.source)
    out_height, out_width = shape_of(value)[2:]
    planar = value.is_graph_output()
    resize = Resize(height, width, channels, out_height, out_width, planar)
    out = em.new(shape_of(value) if planar else (out_height * out_width, channels))
    em.step(resize, {"x": pixels, "y": out})
    if planar:
        em.views[value] = out
    else:
        em.define_pixels(value, out)


def match_resample(node: ir.Node) -> Group | None:
    """Resize of a float32 image [1, C, H, W] in every other mode, as long as no coordinate lies outside the image."""
    source = operand(node, "X") if is_op(node, "Resize") else None
    if source is None or len(shape_of(source)) != 4 or shape_of(source)[0] != 1 or dtype_of(source) != "float32":
        return None
    try:
        changed = taps_of(node_call(node))
    except Refused:
        return None
    if not changed.keys() <= {2, 3} or any(axis.outside.any() for axis in changed.values()):
        return None
    taps = {
        axis: (changed[at].index, changed[at].weight) if at in changed else _identity(shape_of(source)[at])
        for axis, at in (("row", 2), ("column", 3))
    }
    return Group("resample", (node,), lambda em: _emit_taps(em, source, result(node), taps))


def _identity(size: int) -> tuple[Array, Array]:
    """Taps of an axis that stays."""
    return np.arange(size, dtype=np.int32)[:, None], np.ones((size, 1), np.float32)


def _emit_taps(em: Emitter, source: ir.Value, value: ir.Value, taps: dict[str, tuple[Array, Array]]) -> None:
    pixels, (_, channels, height, width) = em.pixels(source), shape_of(source)
    out_height, out_width = (len(taps[axis][0]) for axis in ("row", "column"))
    counts = (taps[axis][0].shape[1] for axis in ("row", "column"))
    y = em.new((out_height * out_width, channels))
    constants = {
        f"{axis}_{what}": Constant(f"resample.{axis}.{what}", array)
        for axis, arrays in taps.items()
        for what, array in zip(("index", "weight"), arrays, strict=True)
    }
    resample = Resample(height, width, channels, out_height, out_width, *counts)
    em.step(resample, {"x": pixels, "y": y}, constants)
    em.define_pixels(value, y)
