"""Quantised tensors: scale and zero point of their integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, INT16
from edgemtl.hw.law import ROUTER_FRACTION_BITS
from edgemtl.operators import Array
from edgemtl.quantize.observe import Range

Dtype = Literal["int8", "int16", "float32"]

LOGIT_SCALE = math.log(2) / 2**ROUTER_FRACTION_BITS
"""One LSB of a gate logit, in nats."""
STREAM_HEADROOM = 1.25
"""Factor by which the residual stream may exceed its range on the calibration images before it saturates."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value scale * (q - zero) of dtype "int8" or "int16"; "float32" is a value that stays in float.

    fold, shift: factors and offsets per channel [dim] that the layers that read the tensor apply, so that the value is
    fold * (scale * q) + shift; None for 1 and 0. parts: the scales of q, k and v where the tensor contains all three.
    """

    dtype: Dtype
    scale: float = 1.0
    zero: int = 0
    fold: Array | None = field(default=None, repr=False)
    shift: Array | None = field(default=None, repr=False)
    parts: tuple[float, float, float] | None = None

    def equals(self, other: Tensor) -> bool:
        """Whether equal integers stand for equal values, with nothing left for a reader to apply."""
        plain = all(part is None for each in (self, other) for part in (each.fold, each.shift, each.parts))
        return plain and (self.dtype, self.scale, self.zero) == (other.dtype, other.scale, other.zero)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value."""
        low, high = INT8 if self.dtype == "int8" else INT16
        return (low - self.zero) * self.scale, (high - self.zero) * self.scale


FLOAT_TENSOR = Tensor("float32")


def symmetric(reach: float, what: str) -> Tensor:
    """An int8 tensor with zero point 0 for magnitudes up to ``reach``. Raises InputError for an empty range."""
    _require_range(reach, what)
    return Tensor("int8", reach / 127)


def affine(seen: Range, what: str) -> Tensor:
    """An int8 tensor whose 256 values span a range; 0 is one of them.

    Raises InputError for an empty range.
    """
    _require_range(seen.reach, what)
    scale = (seen.high - seen.low) / 255
    return Tensor("int8", scale, int(np.clip(-128 - round(seen.low / scale), -128, 127)))


def wide(reach: float, what: str) -> Tensor:
    """An int16 tensor with zero point 0 for magnitudes up to ``reach`` with some headroom."""
    _require_range(reach, what)
    return Tensor("int16", reach * STREAM_HEADROOM / (2**15 - 1))


def _require_range(reach: float, what: str) -> None:
    if not reach > 0:
        reason = "it, or what it reads, is 0 on all calibration images, so there is no scale"
        hint = "calibrate on images like those the model is used on, or keep the layer in float (--keep-float)"
        raise UnsupportedError(what, reason, hint)
