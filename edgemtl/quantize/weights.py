"""Weights, biases and requantisation of one layer as integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, encode_scale, pack_scale
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


def quantise_layer(what: str, weight: Array, bias: Array, x: Tensor, y_scale: Array) -> IntegerLayer:
    """A layer y = x weight + bias to sums of these scales; weight [k, n], bias [n] are real, in float64.

    The zero point of x is folded into the bias. Raises UnsupportedError where a bias or a scale leaves its range.
    """
    integers, w_scale = quantise_weight(weight)
    # Where the weights of a column are so small that its bias would not fit, a larger LSB rounds these weights to 0.
    least = np.abs(bias) / (x.scale * BIAS_LIMIT)
    if np.any(small := w_scale < least):
        w_scale = np.where(small, least, w_scale)
        integers = np.rint(weight / w_scale).astype(np.int8)
    unit = x.scale * w_scale
    sums = integers.astype(np.int64).sum(0)
    total = np.rint(bias / unit).astype(np.int64) - x.zero * sums
    bound = np.abs(total) - (WIDE if x.wide else INT8)[0] * np.abs(integers.astype(np.int64)).sum(0)
    if np.any(bound >= 2**31):
        reason = f"a sum can reach {int(bound.max())}, it must stay below {2**31}"
        raise UnsupportedError(what, reason, "keep it in float (--keep-float)")
    encoded = [encode_scale(float(s), what) for s in unit / np.broadcast_to(y_scale, unit.shape)]
    mul, shift = (np.array(part, np.int64) for part in zip(*encoded, strict=True))
    return IntegerLayer(integers, total.astype(np.int32), pack_scale(mul, shift), unit)
