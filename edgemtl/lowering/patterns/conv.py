"""Convolutions with what is fused around them: bilinear x2 in front, an activation behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    array_of,
    attribute,
    is_op,
    is_private,
    operand,
    private_producer,
    result,
    shape_of,
)
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant, View
from edgemtl.lowering.match import Group, Refusal
from edgemtl.lowering.patterns.activation import strip_activation
from edgemtl.lowering.patterns.linear import LinearLayer, emit_linear, match_core
from edgemtl.lowering.patterns.resize import Bilinear, bilinear
from edgemtl.operators import Conv2d, Resize, Winograd, WinogradWeights
from edgemtl.tvm_bridge.kernels.tiles import padded_width

TILE = 4
LEAST_TILES = 4
"""From where on transformed weights, four times the bytes, cost less than the products they save.

Measured in resnet18 on one core of an AMD EPYC (Zen 5), Winograd's time over the direct kernel's with AVX2 and
AVX-512: 4x4x512 (1 tile) 3.4 and 2.5, 8x8x256 (4 tiles) 0.8 and 1.0, 16x16x128 (16 tiles) 0.3 and 0.4.
"""
MOST_POINTWISE = 64  # channels: beyond, the sums of a block of pixels no longer fit the cache


@dataclass(frozen=True)
class Convolution:
    """A convolution and what is fused around it.

    ``upsample``: what the convolution reads is ``source`` at twice the size, bilinear. ``value``: the
    result of it all.
    """

    value: ir.Value
    source: ir.Value
    weight: Constant
    bias: Constant
    spec: Conv2d
    upsample: bool
    pointwise: LinearLayer | None
    nodes: tuple[ir.Node, ...]


def match_conv(node: ir.Node) -> Group | Refusal | None:
    """Conv over [1, C, H, W] with constant weights and explicit pads, and the activation after it; with a 3x3 Conv also
    the bilinear Resize by 2 before it and the 1x1 Conv after it.
    """
    conv = _with_pointwise(node) or _with_activation(result(node))
    if not isinstance(conv, Convolution):
        return conv
    whole = replace(conv, value=result(node))
    return Group("conv", whole.nodes, lambda em: _emit(em, whole))


def _with_pointwise(node: ir.Node) -> Convolution | None:
    """A 1x1 convolution to few channels behind one that Winograd's algorithm runs, which can take it along."""
    linear = match_core(result(node)) if is_op(node, "Conv") else None
    if linear is None or not is_private(linear.source) or linear.bias.array.size > MOST_POINTWISE:
        return None
    inner = _with_activation(linear.source)
    if not isinstance(inner, Convolution) or not _gains_by_winograd(inner.spec):
        return None
    return replace(inner, pointwise=linear, nodes=(*linear.nodes, *inner.nodes))


def _with_activation(value: ir.Value) -> Convolution | Refusal | None:
    activation = strip_activation(value)
    conv = _with_upsample(activation.source)
    if not isinstance(conv, Convolution):
        return conv
    spec = replace(conv.spec, activation=activation.name)
    return replace(conv, spec=spec, nodes=(*activation.nodes, *conv.nodes))


def _with_upsample(value: ir.Value) -> Convolution | Refusal | None:
    conv = _convolution(value.producer())
    if not isinstance(conv, Convolution) or conv.spec.kernel != (3, 3):
        return conv
    resize = bilinear(private_producer(conv.source, "Resize"))
    if not isinstance(resize, Bilinear) or resize.ratio != (2.0, 2.0):
        return conv
    return replace(conv, source=resize.source, upsample=True, nodes=(*conv.nodes, resize.node))


def _convolution(node: ir.Node | None) -> Convolution | Refusal | None:
    """The convolution alone; a 1x1 of stride 1 is left to the linear kernel."""
    if node is None or not is_op(node, "Conv") or match_core(result(node)) is not None:
        return None
    source, kernel, bias = operand(node, "X"), operand(node, "W"), operand(node, "B")
    weight = array_of(kernel)
    if source is None or kernel is None or weight is None or (bias is not None and array_of(bias) is None):
        return Refusal("Conv weights must be constants, not computed", "freeze the weights before exporting")
    auto_pad, batch = attribute(node, "auto_pad", "NOTSET"), shape_of(source)[0]
    if weight.ndim != 4 or auto_pad != "NOTSET" or batch != 1:
        form = f"not {weight.ndim - 2}, auto_pad {auto_pad} and {batch}"
        reason = f"Conv must have two dimensions, explicit pads and one image, {form}"
        return Refusal(reason, "export with explicit padding")
    shift = array_of(bias)
    width = weight.shape[0]
    if bias is None or shift is None:
        named = Constant(f"zeros_{width}", np.zeros(width, np.float32))
    else:
        named = Constant(bias.name or "bias", shift)
    spec = _spec(node, shape_of(source), weight.shape)
    constant = Constant(kernel.name or "weight", weight)
    return Convolution(result(node), source, constant, named, spec, False, None, (node,))


def _spec(node: ir.Node, shape: tuple[int, ...], weight: tuple[int, ...]) -> Conv2d:
    stride, dilation = attribute(node, "strides", (1, 1)), attribute(node, "dilations", (1, 1))
    top, left, bottom, right = attribute(node, "pads", (0, 0, 0, 0))
    return Conv2d(
        height=shape[2],
        width=shape[3],
        cin=shape[1],
        cout=weight[0],
        kernel=(weight[2], weight[3]),
        stride=(stride[0], stride[1]),
        pad=(top, left, bottom, right),
        dilation=(dilation[0], dilation[1]),
        groups=attribute(node, "group", 1),
    )


def _emit(em: Emitter, conv: Convolution) -> None:
    pixels = em.pixels(conv.source)
    rows = (_winograd(em, conv, pixels) if _gains_by_winograd(conv.spec) else None) or _direct(em, conv, pixels)
    em.define_pixels(conv.value, rows)


def _gains_by_winograd(spec: Conv2d) -> bool:
    """Winograd's F(4x4, 3x3) computes whole tiles of 16 pixels with 36 products instead of 144 per channel
    pair; it must save half of them, which it does unless most tiles hang over the border, and have `LEAST_TILES`.
    """
    regular = (spec.kernel, spec.stride, spec.pad, spec.dilation, spec.groups)
    tiles = -(-spec.height // TILE) * -(-spec.width // TILE)
    saves = tiles >= LEAST_TILES and 36 * tiles * 2 <= 9 * spec.height * spec.width
    return saves and regular == ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1)


def _winograd(em: Emitter, conv: Convolution, pixels: View) -> View | None:
    """Rows [H * W, C] of the result; None where there is no memory for the transformed weights."""
    spec = conv.spec
    columns = padded_width(spec.cout, em.target)
    weights = em.prepare(WinogradWeights(spec.cin, spec.cout, conv.upsample, columns), conv.weight)
    if weights is None:
        return None
    last = {} if conv.pointwise is None else {"weight": conv.pointwise.weight, "bias": conv.pointwise.bias}
    pointwise = last["bias"].array.size if last else 0
    sizes = spec.height, spec.width, spec.cin, spec.cout
    fused = Winograd(*sizes, conv.upsample, spec.activation, columns, pointwise)
    rows = em.new((spec.height * spec.width, pointwise or spec.cout))
    constants = {"bias": conv.bias} | {f"last_{name}": constant for name, constant in last.items()}
    em.step(fused, {"x": pixels, "transformed": weights, "y": rows}, constants)
    return rows


def _direct(em: Emitter, conv: Convolution, pixels: View) -> View:
    """Rows [H * W, C] of the result, the upsampled image stored in between."""
    spec = conv.spec
    if conv.upsample:
        _, channels, height, width = shape_of(conv.source)
        larger = em.new((spec.height * spec.width, channels))
        resize = Resize(height, width, channels, spec.height, spec.width, planar=False)
        em.step(resize, {"x": pixels, "y": larger})
        pixels = larger
    rows = em.new((spec.out_height * spec.out_width, spec.cout))
    em.step(spec, {"x": pixels, "y": rows}, {"weight": conv.weight, "bias": conv.bias})
    last = conv.pointwise
    return rows if last is None else emit_linear(em, rows, last.weight, last.bias)
