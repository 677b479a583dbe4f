"""Weights, biases and requantisation of one layer as integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, MULTIPLIER_BITS, pack_scales
from edgemtl.hw.law import WIDE
from edgemtl.operators import Array
from edgemtl.quantize.tensors import Tensor

BIAS_LIMIT = 2**30
"""Largest bias: it leaves one bit for the products, whose sum is checked separately."""


@dataclass(frozen=True)
class IntegerLayer:
    """One linear map in integers: weight int8 [k, n], bias int32 [n], scale words int32 [n].

    unit [n]: the LSB of the bias.
    """

    weight: Array = field(repr=False)
    bias: Array = field(repr=False)
    scale: Array = field(repr=False)
    unit: Array = field(repr=False)


def quantise_weight(weight: Array) -> tuple[Array, Array]:
    """int8 [k, n] and its scale per column [n], symmetric, [-127, 127]."""
    largest = np.abs(weight).max(0)
    scale = np.where(largest > 0, largest, 1.0) / 127
    return np.rint(weight / scale).astype(np.int8), scale


def find_levels(weight: Array) -> Array | None:
    """For each column of float32 weights [k, n] the integer that its largest magnitude is, where all are integers.

    int64 [n]: the least m in 1..255 for which weight m / largest are integers, up to the rounding of float32: the
    weights were quantised before. None where a column has no such m. A column of zeros has 1.
    """
    if weight.shape[1] > 1 and find_levels(weight[:, :1]) is None:
        return None
    largest = np.abs(weight).max(0)
    ratio = weight / np.where(largest > 0, largest, 1.0)
    levels = np.zeros(weight.shape[1], np.int64)
    for m in range(1, MOST_LEVELS + 1):
        left = np.flatnonzero(levels == 0)
        # Most columns fail in their first rows.
        left = left[_is_whole(ratio[:PROBED, left] * m, m)]
        levels[left[_is_whole(ratio[:, left] * m, m)]] = m
    return levels if levels.all() else None


MOST_LEVELS = 255
"""The largest magnitude of bytes less a zero point."""
PROBED = 8
"""Rows that tell in most cases."""


def fit_bytes(weight: Array, levels: Array) -> bool:
    """Whether the integers of `find_levels` are -128..127: a column's 128 may only be negative."""
    return bool(np.all(levels <= np.where(weight.max(0) >= -weight.min(0), INT8[1], -INT8[0])))


def _is_whole(values: Array, m: int) -> Array:
    """For each column whether all its values, of magnitudes up to m, are integers within what float32 rounds off."""
    return np.asarray((np.abs(values - np.rint(values)) <= m * 2.0**-21).all(0))


def _scales(weight: Array, bias: Array, x_scale: float, levels: Array) -> Array:
    """The scale of each column whose largest weight is a multiple of ``levels`` that fits a byte.

    The multiple in which the bias is an integer too, else the largest, whose bias is rounded least.
    """
    largest = np.abs(weight).max(0)
    reach = np.maximum(levels, INT8[1])
    scales = np.where(largest > 0, largest, 1.0) / (levels * (reach // levels))
    for times in range(int((reach // levels).max()), 0, -1):
        candidate = largest / (levels * times)
        sums = np.divide(bias, x_scale * candidate, out=np.full_like(bias, 0.5), where=candidate > 0)
        whole = np.abs(sums - np.rint(sums)) <= np.maximum(np.abs(sums) * 2.0**-20, 2.0**-10)
        scales = np.where(whole & (levels * times <= reach), candidate, scales)
    return np.asarray(scales)


def check_sums(what: str, weight: Array, bias: Array, wide: bool, hint: str) -> None:
    """Raise UnsupportedError where a sum of int8 or ``wide`` inputs, weights [k, n] and bias [n] can leave int32."""
    bound = np.abs(bias) - (WIDE if wide else INT8)[0] * np.abs(weight.astype(np.int64)).sum(0)
    if np.any(bound >= 2**31):
        reason = f"a sum can reach {int(bound.max())}, it must stay below {2**31}"
        raise UnsupportedError(what, reason, hint)


def quantise_layer(
    what: str,
    weight: Array,
    bias: Array,
    x: Tensor,
    y_scale: Array,
    levels: Array | None = None,
    bits: int = MULTIPLIER_BITS,
) -> IntegerLayer:
    """A layer y = x weight + bias to sums of these scales; weight [k, n], bias [n] are real, in float64.

    The zero point of x is folded into the bias. ``levels`` of `find_levels`: the weights are integers already, which
    are taken as they are. ``bits``: of the multipliers. Raises UnsupportedError where a bias or a scale leaves its
    range.
    """
    integers, w_scale = quantise_weight(weight)
    if levels is not None:
        w_scale = _scales(weight, bias, x.scale, levels)
        integers = np.rint(weight / w_scale).astype(np.int8)
    # Where the weights of a column are so small that its bias would not fit, a larger LSB rounds these weights to 0.
    least = np.abs(bias) / (x.scale * BIAS_LIMIT)
    if np.any(small := w_scale < least):
        w_scale = np.where(small, least, w_scale)
        integers = np.rint(weight / w_scale).astype(np.int8)
    unit = x.scale * w_scale
    sums = integers.astype(np.int64).sum(0)
    total = np.rint(bias / unit).astype(np.int64) - x.zero * sums
    check_sums(what, integers, total, x.wide, "keep it in float (--keep-float)")
    words = pack_scales(unit / np.broadcast_to(y_scale, unit.shape), what, bits)
    return IntegerLayer(integers, total.astype(np.int32), words, unit)
