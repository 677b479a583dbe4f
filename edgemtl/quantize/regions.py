"""Generic nodes over regions of a value in integers: normalisations and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import SHIFT_RANGE, encode_scale, pack_scale, pack_scales
from edgemtl.hw.law_generic import NORM_OCTAVES, NormRows
from edgemtl.hw.law_weightless import Windows
from edgemtl.lowering.ir import Constant
from edgemtl.operators import Array
from edgemtl.quantize.endings import average_tensor, finish_of
from edgemtl.quantize.limits import NORM_FLOOR, NORM_RANGE
from edgemtl.quantize.nodes import reduced_axes
from edgemtl.quantize.norm_nodes import Norm, norm_of
from edgemtl.quantize.products import reshaped
from edgemtl.quantize.tensors import Tensor
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic

MOST_MOMENT = 2**53
ONE = 64
"""The integer of a factor that is the same for all: with it scales of a requantisation are small enough."""


def write_norm_node(writer: Writer, spec: Generic) -> None:
    """A node that normalises."""
    write_normalise(writer, norm_of(spec))


def write_plain_norm(writer: Writer, spec: ops.LayerNorm) -> None:
    """A LayerNorm by itself, where its gamma cannot be folded into what reads it."""
    gamma, beta = (writer.source.constant(name).array.astype(np.float64) for name in ("scale", "shift"))
    region = NormRows(spec.rows, spec.dim, 1, spec.dim)
    write_normalise(writer, Norm((0, 1), region, spec.epsilon, True, gamma, beta))


def write_normalise(writer: Writer, norm: Norm) -> None:
    """Normalise rows, brought together by a copy where they do not lie so."""
    view, region = writer.integers(writer.source.main_input), norm.region
    x, result = writer.tensors[view.buffer], writer.output_tensor()
    assert x.dtype != "float32"
    most = 2**15 if x.dtype == "int16" else 128 + abs(x.zero)
    epsilon = max(1, round(norm.epsilon * region.width**2 / x.scale**2))
    if (region.width * most) ** 2 + epsilon >= MOST_MOMENT:
        reason = f"{NORM_RANGE}, not {region.width} of {x.dtype}"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    if norm.floor > x.scale:
        # Else integers have no norm between 0, which stays 0, and the floor.
        reason = f"{NORM_FLOOR}, not {norm.floor:g} and {x.scale:g}"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    scale, offset = _parameters(writer, norm, result)
    operator = ops.QNormalise(region, x.dtype, x.zero, epsilon, norm.is_centred, finish_of(result))
    constants = {"scale": Constant(f"{writer.name}.scale", scale), "offset": Constant(f"{writer.name}.offset", offset)}
    rows, turned = (region.rows, region.width), view.transpose(norm.axes)
    with writer.output(result) as out:
        source = reshaped(writer, turned, rows)
        if norm.axes == tuple(range(len(norm.axes))):
            writer.step(operator, {"x": source, "y": reshaped(writer, out, rows)}, constants)
            return
        y = writer.temporary("rows", turned.shape, result)
        writer.step(operator, {"x": source, "y": reshaped(writer, y, rows)}, constants)
        writer.copy(y.transpose(tuple(np.argsort(norm.axes).tolist())), out)


def _parameters(writer: Writer, norm: Norm, result: Tensor) -> tuple[Array, Array]:
    """Scale words with the sign of gamma, and offsets, int32."""
    encoded = [encode_scale(abs(g) / result.scale / 2.0**NORM_OCTAVES, writer.name) for g in norm.gamma]
    mul, shift = (np.array(part) for part in zip(*encoded, strict=True))
    if shift.min() <= SHIFT_RANGE[0] and mul[shift.argmin()]:
        raise UnsupportedError(writer.name, "gamma is too large for its result", "keep it in float (--keep-float)")
    words = pack_scale(mul, shift) * np.where(norm.gamma < 0, -1, 1)
    offset = np.clip(np.rint(norm.beta / result.scale), -(2**29), 2**29)
    return words.astype(np.int32), offset.astype(np.int32)


def write_reduce(writer: Writer, spec: Generic) -> None:
    """A mean, a sum or the largest of some axes: a pool whose windows are what is reduced."""
    view, x = writer.plain_view(writer.source.main_input)
    axes = reduced_axes(spec)
    others = [axis for axis in range(len(view.shape)) if axis not in axes]
    width, windows, channels, order = _windows(view.shape, axes, others)
    pixels = reshaped(writer, view.transpose(order), (windows.pixels, channels))
    shape = windows.out_pixels, channels
    if spec.call.op == "ReduceMax":
        with writer.output(x) as out:
            views = {"x": pixels, "y": reshaped(writer, out, shape)}
            writer.step(ops.QPool("max", channels, windows), views)
        return
    factor = 1 / width if spec.call.op == "ReduceMean" else 1.0
    result = average_tensor(writer, x.scale * factor)
    words = np.full(windows.out_pixels, _word(writer, x.scale * factor / result.scale), np.int32)
    operator = ops.QPool("average", channels, windows, x.zero, finish_of(result), writer.is_fine)
    with writer.output(result) as out:
        views = {"x": pixels, "y": reshaped(writer, out, shape)}
        writer.step(operator, views, {"scale": Constant(f"{writer.name}.scale", words)})


def _word(writer: Writer, scale: float) -> Array:
    return pack_scales([scale], writer.name, writer.multiplier_bits)


def _windows(
    shape: Sequence[int], axes: Sequence[int], others: Sequence[int]
) -> tuple[int, Windows, int, tuple[int, ...]]:
    """Elements of a window, the windows, their channels, and the order of axes.

    Vectors run over channels: the others come behind what is reduced, unless neighbours are reduced between them.
    """
    width = math.prod(shape[axis] for axis in axes)
    inner = math.prod(shape[axis] for axis in others if axis > max(axes))
    is_run = list(axes) == list(range(min(axes), max(axes) + 1))
    if is_run and inner > 1:
        outer = math.prod(shape[: min(axes)])
        return width, _columns(outer, width), inner, tuple(range(len(shape)))
    return width, _columns(1, width), math.prod(shape[axis] for axis in others), (*axes, *others)


def _columns(outer: int, width: int) -> Windows:
    return Windows(outer * width, 1, outer, 1, (width, 1), (width, 1))
