"""The law of operators without weights: sums, products, tables, pools and resizes, in the notation of `law`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import INT8, INT16, Ints, Wide, requantise, round_shift, saturate
from edgemtl.hw.law import Finish, enlarge, sliding_windows

Array = npt.NDArray[Any]

RATIO_BITS: Final = 14
"""Bits of the multipliers of `add` and `multiply`: sums and products with them keep within int32."""


def add(a: Ints, b: Ints, muls: tuple[int, int], offset: int, shift: int, how: Finish) -> Array:
    """a + b of operands that each have a scale: saturate(((a mul_a + b mul_b + offset + half) >> shift) + zero).

    a, b int8 or int16 with numpy's broadcasting; |mul| < 2^14; shift 1..29; ``offset`` is
    -(zero_a mul_a + zero_b mul_b), below 2^23. The sum keeps within int32. ``how`` as of `finish`, without a table.
    Against the real sum: half an LSB, and of each operand 2^-14 of its largest magnitude in LSBs of the result.
    """
    total = a.astype(np.int64) * muls[0] + b.astype(np.int64) * muls[1] + offset
    return _finished(round_shift(total, shift), how)


def multiply(a: Ints, b: Ints, zeros: tuple[int, int], mul: int, shift: int, how: Finish) -> Array:
    """a b of int8 operands: saturate((((a - zero_a) (b - zero_b) mul + half) >> shift) + zero).

    Numpy's broadcasting; 0 <= mul < 2^14; shift 1..30: the product keeps within int32.
    Against the real product: half an LSB, and 2^-14 of the value.
    """
    product = (a.astype(np.int64) - zeros[0]) * (b.astype(np.int64) - zeros[1]) * mul
    return _finished(round_shift(product, shift), how)


def _finished(value: Wide, how: Finish) -> Array:
    if how.dtype == "int16":
        return saturate(value, *how.limits).astype(np.int16)
    return saturate(value + how.zero, *how.limits).astype(np.int8)


def lookup(x: Ints, table: Ints) -> npt.NDArray[np.int8]:
    """Bytes [M, N] by tables [1 or N, 256]: each byte is replaced by entry byte + 128 of the table of its column.

    Tables hold the nearest LSB of a function of every byte: half an LSB from the real value.
    """
    columns = np.arange(x.shape[1]) if len(table) > 1 else 0
    return np.asarray(table[columns, x.astype(np.int64) + 128], np.int8)


CURVE_KNOTS: Final = 257
"""Entries of a table of `curve`: every 256th of the int16 values, and one behind the last."""


def curve(x: Ints, table: Ints) -> npt.NDArray[np.int16]:
    """A function of int16 by a table int16 [257], linear between its knots -2^15 + 256 i:

    t[i] + ((t[i + 1] - t[i]) f + 128 >> 8), with i and f the upper and the lower byte of x + 2^15.
    Against the function between its rounded knots: half an LSB; and half an LSB of the knots.
    """
    above = x.astype(np.int64) + 2**15
    knot, fraction = above >> 8, above & 255
    wide = table.astype(np.int64)
    return np.asarray(wide[knot] + round_shift((wide[knot + 1] - wide[knot]) * fraction, 8), np.int16)


def look_up_pixels(x: npt.NDArray[np.uint8], table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bytes [M, N] of a frame by tables [N, 256]: each byte is replaced by its entry of the table of its channel."""
    return np.asarray(table[np.arange(x.shape[1]), x])


@dataclass(frozen=True)
class Rescale:
    """From one scale to another: saturate(requantise(x - zero, mul, shift) + out_zero)."""

    zero: int
    mul: int
    shift: int
    out_zero: int


def rescale(x: Ints, how: Rescale, dtype: Literal["int8", "int16"]) -> Array:
    """int8 or int16 to ``dtype`` of another scale: half an LSB, and 2^-17 of the value.

    mul * 2^-shift = 1 and equal zeros change nothing but what saturates.
    """
    value = requantise(x.astype(np.int64) - how.zero, how.mul, how.shift) + how.out_zero
    return saturate(value, *(INT8 if dtype == "int8" else INT16)).astype(dtype)


@dataclass(frozen=True)
class Windows:
    """Windows over an image: sizes, strides, dilations and (top, left) padding in pixels, (vertical, horizontal) each.

    Windows at the end may reach beyond the image, as far as the number of outputs says.
    """

    height: int
    width: int
    out_height: int
    out_width: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return self.height * self.width

    @property
    def out_pixels(self) -> int:
        """Pixels of the result."""
        return self.out_height * self.out_width

    @property
    def beyond(self) -> tuple[int, int]:
        """Pixels by which the last windows reach beyond the end of the image."""
        sizes, out = (self.height, self.width), (self.out_height, self.out_width)
        below, right = (
            max((o - 1) * s + (k - 1) * d + 1 - p - n, 0)
            for o, s, k, d, p, n in zip(out, self.stride, self.kernel, self.dilation, self.pad, sizes, strict=True)
        )
        return below, right

    def cut(self, image: Array, outside: float) -> Array:
        """Windows [H', W', kh, kw, C] of an image [H, W, C], with ``outside`` around it."""
        margins = [(before, after) for before, after in zip(self.pad, self.beyond, strict=True)]
        padded = np.pad(image, (*margins, (0, 0)), constant_values=outside)
        return sliding_windows(padded, self.kernel, self.stride, self.dilation)[: self.out_height, : self.out_width]

    def counts(self, with_padding: bool) -> Wide:
        """Pixels of each window that count, int64 [H', W']; those beyond the image where ``with_padding``."""
        if with_padding:
            return np.full((self.out_height, self.out_width), self.kernel[0] * self.kernel[1], np.int64)
        inside = np.ones((self.height, self.width, 1), np.int64)
        return np.asarray(self.cut(inside, 0).sum((2, 3))[:, :, 0])


def max_pool(x: Ints, windows: Windows) -> npt.NDArray[np.int8]:
    """The largest byte of each window of an image [H, W, C], exact; every window has a pixel of the image."""
    return np.asarray(windows.cut(x, INT8[0]).max((2, 3)), np.int8)


def classes(x: Ints, enlarged: bool) -> npt.NDArray[np.uint8]:
    """The channel of the largest value of each pixel of an image [H, W, C], the lowest of equal ones; C <= 256.

    Where it is ``enlarged``, of `law.enlarge`. Exact: dequantised values compare as the integers do, since these have
    at most 20 bits and float32 has 24.
    """
    return np.asarray((enlarge(x) if enlarged else x).argmax(-1), np.uint8)


def average_pool(x: Ints, windows: Windows, zero: int, mul: Ints, shift: Ints, how: Finish) -> Array:
    """The mean of each window of an image [H, W, C]: saturate(requantise(sum of (x - zero)) + how.zero).

    mul, shift [H' W'] by output pixel hold the scale over the number of pixels that count. Sums keep below 2^31 for
    windows of up to 2^22 pixels. Half an LSB, and 2^-17 of the value.
    """
    sums = windows.cut(x.astype(np.int64) - zero, 0).sum((2, 3)).reshape(windows.out_pixels, -1)
    value = requantise(np.asarray(sums, np.int64), mul[:, None], shift[:, None])
    return _finished(value, how).reshape(windows.out_height, windows.out_width, -1)


TAP_BITS: Final = 11
"""Fraction bits of a weight of `resample`."""


LINE_SHIFT: Final = 8
"""Of the 11 fraction bits that the rows' weights give 16-bit values, `resample` rounds so many away."""


def resample(x: Ints, row_index: Ints, row_weight: Ints, column_index: Ints, column_weight: Ints) -> Array:
    """An image [H, W, C] resized along both axes: saturate(round_shift(sum of w_row w_column x, 22)).

    index [out, taps] into the axis, weight [out, taps] with 11 fraction bits that sum to exactly 2^11 for every output,
    so that a constant stays what it is and the zero does not matter. Magnitudes of an output's weights sum to at most
    2^11.99, so that sums keep within int32. Lines of int16 are rounded to 3 fraction bits before the columns' weights.
    Against real weights: half an LSB, 2^-12 of the largest magnitude for each tap of either axis, and of int16 1/8 LSB.
    """
    lines = (x.astype(np.int64)[row_index] * row_weight.astype(np.int64)[:, :, None, None]).sum(1)
    shift = LINE_SHIFT if x.dtype == np.int16 else 0
    lines = round_shift(lines, shift) if shift else lines
    total = (lines[:, column_index] * column_weight.astype(np.int64)[:, :, None]).sum(2)
    ends = INT16 if x.dtype == np.int16 else INT8
    return saturate(round_shift(total, 2 * TAP_BITS - shift), *ends).astype(x.dtype)
