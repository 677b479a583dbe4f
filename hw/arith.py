"""Scalar integer primitives of the law: rounding, saturation, requantisation, exp2, reciprocals.

Every function takes integers or integer arrays of any shape and works elementwise in int64. They are all that the
functional simulator shares with `law`. Real numbers appear in two places only, both of them at compile time:
`encode_scale` and the tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgemtl.errors import UnsupportedError

Ints = npt.NDArray[np.integer[Any]]
Wide = npt.NDArray[np.int64]

INT8: Final = (-128, 127)
INT16: Final = (-(2**15), 2**15 - 1)
MULTIPLIER_BITS: Final = 17
"""Bits of an unsigned multiplier: the narrow operand of a DSP48E2, its sign bit left out."""
SHIFT_RANGE: Final = (12, 43)
"""Shifts of a requantisation: 32 of them, 5 bits."""
FINE_BITS: Final = 20
"""Bits of the multipliers of quantised models on CPUs: sums of 31 bits times these are exact in float64."""
EXP2_FRACTION_BITS: Final = 6
"""Fraction bits of an exponent: a table of 64 entries is one LUT6 a bit."""

_MULTIPLIER_LIMIT: Final = 2**MULTIPLIER_BITS - 1


def round_shift(value: Ints, shift: Ints | int) -> Wide:
    """value / 2^shift, rounded half up: (value + 2^(shift-1)) >> shift, for a shift of 1..62 and |value| <= 2^62."""
    shift = np.asarray(shift, np.int64)
    return np.asarray((value.astype(np.int64) + (np.int64(1) << (shift - 1))) >> shift)


def saturate(value: Ints, low: int, high: int) -> Wide:
    """value, or the end of [low, high] it lies beyond."""
    return np.clip(value.astype(np.int64), low, high)


def encode_scale(scale: float, what: str = "a scale", bits: int = MULTIPLIER_BITS) -> tuple[int, int]:
    """(mul, shift) with mul * 2^-shift nearest to ``scale``: mul < 2^17, shift 12..43; a scale of 0 gives mul 0.

    Between 2^-27 and 32 the relative error is at most 2^-17; smaller scales lose bits, and vanish below 2^-44. Raises
    UnsupportedError for a scale outside [0, 32 - 2^-13): from there on the nearest multiplier would be 32. With more
    ``bits`` mul is below 2^bits, and the shifts and the reciprocal of the error grow alike.
    """
    if not 0 <= scale < 32 - 2.0**-13:
        hint = "calibrate on images like those the model is used on, or keep the layer in float (--keep-float)"
        raise UnsupportedError(
            what, f"the scale of a requantisation must be at least 0 and below 32, not {scale:g}", hint
        )
    low, high = (end + bits - MULTIPLIER_BITS for end in SHIFT_RANGE)
    shift = min(high, bits - math.frexp(scale)[1]) if scale else low
    mul = math.floor(scale * 2.0**shift + 0.5)
    return (mul, shift) if mul < 2**bits else (mul >> 1, shift - 1)


def encode_ratios(ratios: Sequence[float], bits: int, what: str) -> tuple[tuple[int, ...], int]:
    """(muls, shift) with mul * 2^-shift nearest to each ratio: |mul| < 2^bits, one shift of 1..29 for all.

    The largest has at least bits - 1 significant bits, unless it is below 2^(bits - 30). Raises UnsupportedError for a
    ratio that is not below 2^(bits - 1) by a quarter.
    """
    largest = max(abs(ratio) for ratio in ratios)
    shift = min(29, bits - math.frexp(largest)[1]) if largest else 29
    muls = [math.floor(ratio * 2.0**shift + 0.5) for ratio in ratios]
    if max(map(abs, muls)) >= 2**bits:
        muls, shift = [mul >> 1 for mul in muls], shift - 1
    if shift < 1:
        reason = f"scales of its operands must be below {2 ** (bits - 1)} times the result's, not {largest:g}"
        raise UnsupportedError(what, reason, "keep the layer in float (--keep-float)")
    return tuple(muls), shift


def pack_scale(mul: Ints | int, shift: Ints | int) -> npt.NDArray[np.int32]:
    """A multiplier and its shift in one word: shift * 2^17 + mul, 23 bits; what is stored for each channel."""
    return (np.asarray(shift, np.int64) << MULTIPLIER_BITS | np.asarray(mul, np.int64)).astype(np.int32)


def pack_fine_scale(mul: Ints | int, shift: Ints | int) -> npt.NDArray[np.int32]:
    """A multiplier of 20 bits and its shift in one word: -(shift * 2^20 + mul), where `pack_scale` gives no sign."""
    return (-(np.asarray(shift, np.int64) << FINE_BITS | np.asarray(mul, np.int64))).astype(np.int32)


def pack_scales(scales: Iterable[float], what: str, bits: int = MULTIPLIER_BITS) -> npt.NDArray[np.int32]:
    """Scales by multipliers of 17 or 20 bits as words [n]. Raises what `encode_scale` raises."""
    encoded = [encode_scale(float(scale), what, bits) for scale in scales]
    mul, shift = (np.array(part, np.int64) for part in zip(*encoded, strict=True))
    return pack_fine_scale(mul, shift) if bits == FINE_BITS else pack_scale(mul, shift)


def unpack_scale(word: Ints) -> tuple[Wide, Wide]:
    """(mul, shift) of `pack_scale` or `pack_fine_scale`."""
    word = word.astype(np.int64)
    size, is_fine = np.abs(word), word < 0
    bits: Wide = np.where(is_fine, FINE_BITS, MULTIPLIER_BITS).astype(np.int64)
    return np.asarray(size & (2**bits - 1)), np.asarray(size >> bits)


def requantise(value: Ints, mul: Ints | int, shift: Ints | int) -> Wide:
    """value * mul * 2^-shift, rounded half up, not saturated: (value * mul + 2^(shift-1)) >> shift.

    |value| < 2^31 and mul < 2^20, so the product has at most 52 bits and is exact in float64 too.
    """
    return round_shift(np.asarray(value.astype(np.int64) * np.asarray(mul, np.int64)), shift)


def bit_length(value: Ints) -> Wide:
    """Bits of a positive integer below 2^53: 2^(bits-1) <= value < 2^bits; 0 for 0."""
    return np.frexp(value.astype(np.float64))[1].astype(np.int64)


def reciprocal(value: Ints) -> tuple[Wide, Wide]:
    """(mantissa, exponent) with 1 / value = mantissa * 2^-(16 + exponent), for 1 <= value < 2^31.

    exponent = bit_length(value); mantissa = min(floor(2^(16 + exponent) / value), 2^17 - 1) lies in [2^16, 2^17).
    The relative error is below 2^-16, and never positive.
    """
    value = value.astype(np.int64)
    exponent = bit_length(value)
    return np.minimum((np.int64(1) << (16 + exponent)) // value, _MULTIPLIER_LIMIT), exponent


def reciprocal_sqrt(value: Ints) -> tuple[Wide, Wide]:
    """(mantissa, exponent) with 1 / sqrt(value) = mantissa * 2^-(33 + exponent), for 1 <= value < 2^53.

    The value is brought to [2^32, 2^34) by an even shift of 2 * exponent (bits shifted out are dropped), its root
    floored to 17 bits and 2^33 divided by that, floored: the mantissa lies in [2^16, 2^17). The relative error is
    below 2^-16 on either side.
    """
    value = value.astype(np.int64)
    exponent = (bit_length(value) + 1) // 2 - 17
    scaled = np.where(exponent >= 0, value >> np.maximum(2 * exponent, 0), value << np.maximum(-2 * exponent, 0))
    # Exact: a float64 root of less than 53 bits is further from the next integer than its rounding error.
    root = np.sqrt(scaled.astype(np.float64)).astype(np.int64)
    return np.minimum(np.int64(2**33) // root, _MULTIPLIER_LIMIT), exponent


def scale_mantissa(mantissa: Ints, mul: Ints | int) -> Wide:
    """The product of two 17-bit mantissas as one: min((mantissa * mul + 2^16) >> 17, 2^17 - 1).

    The relative error is at most 2^-16 where neither is below 2^16: the product may then be 2^15.
    """
    return np.minimum(requantise(mantissa, mul, MULTIPLIER_BITS), _MULTIPLIER_LIMIT)


def _exp2_table(fraction_bits: int) -> Wide:
    steps = 2**fraction_bits
    return np.array([math.floor(255 * 256 * 2.0 ** (-f / steps) + 0.5) for f in range(steps)], np.int64)


EXP2_TABLE: Final = _exp2_table(EXP2_FRACTION_BITS)
"""255 * 2^8 * 2^(-f / 64) for f < 64, rounded: 16 bits each."""
FINE_EXP2_FRACTION_BITS: Final = 7
FINE_EXP2_TABLE: Final = _exp2_table(FINE_EXP2_FRACTION_BITS)
"""The same by 128ths."""


def exp2_wide(distance: Ints) -> Wide:
    """65280 * 2^(-distance / 64) for distance >= 0: 16 bits, 0 from a distance of 17 * 64 on.

    The table's rounded entry, shifted and rounded again: at most 0.75 off.
    """
    distance = distance.astype(np.int64)
    whole = np.minimum(distance >> EXP2_FRACTION_BITS, 17)
    entry = EXP2_TABLE[distance & (2**EXP2_FRACTION_BITS - 1)]
    return np.where(whole == 0, entry, round_shift(entry, np.maximum(whole, 1)))


def exp2_byte(distance: Ints) -> Wide:
    """255 * 2^(-distance / 64), rounded (at most 0.5 off), distance >= 0: 0..255, 0 from a distance of 9 * 64 on."""
    distance = distance.astype(np.int64)
    whole = np.minimum(distance >> EXP2_FRACTION_BITS, 9)
    return round_shift(EXP2_TABLE[distance & (2**EXP2_FRACTION_BITS - 1)], 8 + whole)


def exp2_fine(distance: Ints) -> Wide:
    """4080 * 2^(-distance / 128), rounded (at most 0.54 off): 12 bits, 0 from a distance of 13 * 128 on.

    distance >= 0.
    """
    distance = distance.astype(np.int64)
    whole = np.minimum(distance >> FINE_EXP2_FRACTION_BITS, 13)
    return round_shift(FINE_EXP2_TABLE[distance & (2**FINE_EXP2_FRACTION_BITS - 1)], 4 + whole)
