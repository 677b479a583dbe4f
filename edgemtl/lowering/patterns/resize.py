"""Bilinear resizing of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.graph import array_of, attribute, input_at, is_op, shape_of
from edgemtl.lowering.match import Group, Refusal
from edgemtl.tvm_bridge.specs_conv import ResizeSpec

_HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")  # they differ for an output of one pixel alone


@dataclass(frozen=True)
class Bilinear:
    """A bilinear Resize of an image [1, C, H, W]: what it reads, and output / input size."""

    node: ir.Node
    source: ir.Value
    ratio: tuple[float, float]


def bilinear(node: ir.Node | None) -> Bilinear | Refusal | None:
    """The node as a half-pixel bilinear Resize of height and width; a Refusal for another kind of Resize."""
    if node is None or not is_op(node, "Resize") or node.inputs[0] is None:
        return None
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if len(before) != 4 or before[:2] != after[:2]:
        return Refusal(f"Resize must change height and width of [1, C, H, W], not {before} to {after}", "")
    kind = attribute(node, "mode", "nearest"), attribute(node, "coordinate_transformation_mode", "half_pixel")
    if kind[0] != "linear" or kind[1] not in _HALF_PIXEL or attribute(node, "antialias", 0):
        return Refusal(
            f"Resize must be linear with half_pixel coordinates, not {kind[0]} with {kind[1]}",
            "export with mode='bilinear', align_corners=False",
        )
    ratio = after[2] / before[2], after[3] / before[3]
    scales = array_of(input_at(node, 2))
    if scales is not None and scales.size and not np.allclose(scales[2:], ratio, rtol=1e-6):
        return Refusal("Resize scales must be output size / input size", "give sizes instead of scales")
    return Bilinear(node, node.inputs[0], ratio)


def match_resize(node: ir.Node) -> Group | Refusal | None:
    """Bilinear Resize of an image [1, C, H, W] with half-pixel coordinates to any size."""
    found = bilinear(node)
    if not isinstance(found, Bilinear):
        return found
    return Group("resize", (node,), lambda em: _emit(em, found))


def _emit(em: Emitter, found: Bilinear) -> None:
    """To planes where the result is the graph's, since outputs are NCHW; else channels-last."""
    value, pixels = found.node.outputs[0], em.pixels(found.source)
    _, channels, height, width = shape_of(found.source)
    out_height, out_width = shape_of(value)[2:]
    planar = value.is_graph_output()
    spec = ResizeSpec(height, width, channels, out_height, out_width, planar)
    out = em.new(shape_of(value) if planar else (out_height * out_width, channels))
    em.step(spec, (pixels,), (out,))
    if planar:
        em.views[value] = out
    else:
        em.define_pixels(value, out)
