"""Quantised tensors: scale and zero point of their integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, INT16
from edgemtl.hw.law import LEAST_ROUTER_FRACTION_BITS, ROUTER_FRACTION_BITS, WIDE
from edgemtl.operators import Array
from edgemtl.quantize.observe import Range

Dtype = Literal["int8", "int16", "float32"]

STREAM_HEADROOM = 1.25
"""Factor by which the residual stream may exceed its range on the calibration images before it saturates."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value scale * (q - zero) of dtype "int8" or "int16"; "float32" is a value that stays in float.

    wide: an activation of 12 bits in int16. fold, shift: factors and offsets per channel [dim] that the layers that
    read the tensor apply, so that the value is fold * (scale * q) + shift; None for 1 and 0. parts: the scales of q, k
    and v where the tensor contains all three.
    """

    dtype: Dtype
    scale: float = 1.0
    zero: int = 0
    fold: Array | None = field(default=None, repr=False)
    shift: Array | None = field(default=None, repr=False)
    parts: tuple[float, float, float] | None = None
    wide: bool = False

    def equals(self, other: Tensor) -> bool:
        """Whether equal integers stand for equal values, with nothing left for a reader to apply."""
        plain = all(part is None for each in (self, other) for part in (each.fold, each.shift, each.parts))
        return plain and self._integers == other._integers

    @property
    def _integers(self) -> tuple[Dtype, float, int, bool]:
        return self.dtype, self.scale, self.zero, self.wide

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value."""
        low, high = INT8 if self.dtype == "int8" else WIDE if self.wide else INT16
        return (low - self.zero) * self.scale, (high - self.zero) * self.scale


FLOAT_TENSOR = Tensor("float32")


def symmetric(reach: float, what: str, wide: bool = False) -> Tensor:
    """An int8 or wide tensor with zero point 0 for magnitudes up to ``reach``. Raises InputError for an empty range."""
    _require_range(reach, what)
    return Tensor("int16", reach / WIDE[1], wide=True) if wide else Tensor("int8", reach / INT8[1])


def affine(seen: Range, what: str, wide: bool = False) -> Tensor:
    """An int8 or wide tensor whose 256 or 4096 values span a range; 0 is one of them.

    Raises InputError for an empty range.
    """
    _require_range(seen.reach, what)
    low, high = WIDE if wide else INT8
    scale = (seen.high - seen.low) / (high - low)
    return Tensor("int16" if wide else "int8", scale, int(np.clip(low - round(seen.low / scale), low, high)), wide=wide)


def wide(reach: float, what: str) -> Tensor:
    """An int16 tensor with zero point 0 for magnitudes up to ``reach`` with some headroom."""
    _require_range(reach, what)
    return Tensor("int16", reach * STREAM_HEADROOM / (2**15 - 1))


def logits(reach: float, what: str) -> Tensor:
    """A tensor of gate logits: as many of the router's fraction bits as leave room for magnitudes up to ``reach``.

    Raises UnsupportedError for logits beyond what the fewest fraction bits leave room for.
    """
    for bits in range(ROUTER_FRACTION_BITS, LEAST_ROUTER_FRACTION_BITS - 1, -1):
        scale = math.log(2) / 2**bits
        if reach * STREAM_HEADROOM <= scale * INT16[1]:
            return Tensor("int16", scale)
    reason = f"logits of its gate must keep below {scale * INT16[1] / STREAM_HEADROOM:.0f}, not reach {reach:g}"
    raise UnsupportedError(what, reason, "keep it in float (--keep-float)")


def router_fraction_bits(tensor: Tensor) -> int:
    """The fraction bits of a tensor of `logits`."""
    return round(math.log2(math.log(2) / tensor.scale))


def _require_range(reach: float, what: str) -> None:
    if not reach > 0:
        reason = "it, or what it reads, is 0 on all calibration images, so there is no scale"
        hint = "calibrate on images like those the model is used on, or keep the layer in float (--keep-float)"
        raise UnsupportedError(what, reason, hint)
