"""Resize, axis by axis: every mode is separable."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from tvm import te, tirx

from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.taps import COORDINATES, NEAREST, AxisTaps, ResizedAxis, Sampling, taps

POLICIES = {"not_larger": min, "not_smaller": max}


def taps_of(call: Call) -> dict[int, AxisTaps]:
    """What every axis that changes reads. Raises Refused for a form that is not defined."""
    sampling, axes = _sampling(call), _axes(call)
    _check(call, sampling, axes)
    return {i: taps(axis, sampling) for i, axis in axes.items() if axis.scale != 1}


def resize(call: Call) -> Tensor:
    """To the output's size; a scale that is given counts, also where it leaves a fraction of a pixel."""
    changed, axes = taps_of(call), _axes(call)
    value = call.attribute("extrapolation_value", 0.0)
    x = call.main()
    # Axes that shrink first, then the last ones: intermediates stay small.
    for i in sorted(changed, key=lambda i: (axes[i].output_size / axes[i].input_size, -i)):
        x = _gathered(call, x, i, changed[i])
    return _extrapolated(call, x, changed, value)


def _sampling(call: Call) -> Sampling:
    mode = _one_of(call, "mode", "nearest", ("nearest", "linear", "cubic"))
    return Sampling(
        mode,
        _one_of(call, "coordinate_transformation_mode", "half_pixel", COORDINATES),
        _one_of(call, "nearest_mode", "round_prefer_floor", NEAREST),
        call.attribute("cubic_coeff_a", -0.75),
        bool(call.attribute("exclude_outside", 0)) and mode != "nearest",
        bool(call.attribute("antialias", 0)) and mode != "nearest",
    )


def _one_of(call: Call, name: str, default: str, known: Collection[str]) -> str:
    value = call.attribute(name, default)
    if value not in known:
        raise Refused(f"{name} of Resize must be one of {', '.join(known)}, not {value}")
    return value


def _axes(call: Call) -> dict[int, ResizedAxis]:
    """The axes that the operands speak of."""
    before, after = call.main_type.shape, call.result.shape
    rank = len(before)
    indices = [i % rank for i in call.attribute("axes", tuple(range(rank)))]
    scales, roi = _scales(call, [before[i] for i in indices]), _roi(call, len(indices))
    if len(scales) != len(indices):
        raise Refused(f"Resize must have a scale or size for each of {len(indices)} axes, not {len(scales)}")
    return {i: ResizedAxis(before[i], after[i], s, r) for i, s, r in zip(indices, scales, roi, strict=True)}


def _scales(call: Call, before: list[int]) -> list[float]:
    """Output size / input size per axis, as float32."""
    policy = _one_of(call, "keep_aspect_ratio_policy", "stretch", ("stretch", *POLICIES))
    if call.has("scales") and call.type_of("scales").size:
        return [float(s) for s in call.constant("scales").astype(np.float32).reshape(-1)]
    if not call.has("sizes"):
        raise Refused("Resize must have scales or sizes")
    sizes = call.constant("sizes").reshape(-1)
    scales = [float(np.float32(n) / np.float32(m)) for n, m in zip(sizes, before, strict=False)]
    return scales if policy == "stretch" else [POLICIES[policy](scales)] * len(scales)


def _roi(call: Call, count: int) -> list[tuple[float, float]]:
    """The region of interest per axis: all starts, then all ends."""
    if call.attribute("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return [(0.0, 1.0)] * count
    if not call.has("roi") or call.type_of("roi").size != 2 * count:
        raise Refused(f"roi of Resize must have {2 * count} elements for tf_crop_and_resize")
    starts, ends = call.constant("roi").astype(np.float32).reshape(2, count)
    return [(float(start), float(end)) for start, end in zip(starts, ends, strict=True)]


def _check(call: Call, sampling: Sampling, axes: dict[int, ResizedAxis]) -> None:
    """Refuses forms that onnxruntime copies where ONNX defines another result, and weights on integers."""
    if any(axis.scale == 1 and axis.roi != (0, 1) for axis in axes.values()):
        raise Refused("a region of interest of Resize must not have the size of the result; crop with Slice")
    for axis in axes.values():
        _check_size(axis, has_scales=call.has("scales") and call.type_of("scales").size > 0)
    still = [axis for axis in axes.values() if axis.input_size == axis.output_size and axis.scale != 1]
    if still and (sampling.antialias or call.main_type.shape == call.result.shape):
        form = f"Resize by {still[0].scale:g} must change the size {still[0].input_size}"
        raise Refused(f"{form}; give sizes instead of scales")
    if sampling.mode != "nearest" and call.main_type.dtype != "float32":
        raise Refused(f"Resize in mode {sampling.mode} must be of float32, not {call.main_type.dtype}")
    if 0 in call.main_type.shape or 0 in call.result.shape:
        raise Refused("Resize must have at least one element before and after")


def _check_size(axis: ResizedAxis, has_scales: bool) -> None:
    """Refuses a scale whose output size depends on how the product is rounded, in float32 or in float64."""
    rounded = int(np.float32(axis.scale) * np.float32(axis.input_size))
    if has_scales and rounded != axis.output_size:
        form = f"Resize of {axis.input_size} by {axis.scale:g} may give {axis.output_size} or {rounded}"
        raise Refused(f"{form}; give sizes instead of scales")


def _gathered(call: Call, x: Tensor, axis: int, read: AxisTaps) -> Tensor:
    """x with an axis replaced by weighted sums of its pixels."""
    shape = [int(n) for n in x.shape]
    pixel = call.index_table(read.index, shape[axis])
    shape[axis] = len(read.index)
    count = read.index.shape[1]
    if (read.weight == 1).all():
        return te.compute(shape, lambda *i: x(*i[:axis], pixel(i[axis], 0), *i[axis + 1 :]), name="pick")
    weight, k = call.table(read.weight), te.reduce_axis((0, count), name="k")

    def element(*i: Expr) -> Expr:
        return te.sum(weight[i[axis], k] * x(*i[:axis], pixel(i[axis], k), *i[axis + 1 :]), axis=k)

    return te.compute(shape, element, name="blend")


def _extrapolated(call: Call, x: Tensor, changed: dict[int, AxisTaps], value: float) -> Tensor:
    """The extrapolation value where a coordinate of any axis lies outside."""
    masks = {i: call.table(t.outside.astype(np.int32)) for i, t in changed.items() if t.outside.any()}
    if not masks:
        return x

    def element(*index: Expr) -> Expr:
        outside = tirx.any(*(mask[index[i]] != 0 for i, mask in masks.items()))
        return tirx.Select(outside, tirx.const(value, str(x.dtype)), x(*index))

    return te.compute(x.shape, element, name="extrapolate")


OPERATORS: dict[str, Definition] = {"Resize": resize}
