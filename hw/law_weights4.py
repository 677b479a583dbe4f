"""Weights in 4 bits by the law: codes with a multiplier for each group of rows, which expand to the int8 weights.

A layer's bits are those of its expanded weights: everything behind them is `law.linear`. Every processor has an
instruction for the expansion, a rounding high product of 16 bits: (2^12 code * multiplier + 2^14) >> 15.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import Ints, round_shift

CODES: Final = (-8, 7)
"""A weight's code, two in a byte."""
MULTIPLIERS: Final = (-127, 127)
"""What a group's codes are multiplied by, in eighths of an LSB of the int8 weights. Its sign puts the largest weight of
the group at -8, the end that reaches further."""
FRACTION_BITS: Final = 3
GROUP: Final = 64
"""Rows that share a multiplier in each column."""


@dataclass(frozen=True, eq=False)
class CodedWeight:
    """A weight [rows, n] in 4 bits.

    codes: uint8 [ceil(rows / 2), n], row 2i in the low half of byte i, 2i + 1 in the high one; 0 where there is no row.
    multipliers: int8 [ceil(rows / `GROUP`), n].
    """

    rows: int
    codes: npt.NDArray[np.uint8] = field(repr=False)
    multipliers: npt.NDArray[np.int8] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and multipliers."""
        return self.codes.nbytes + self.multipliers.nbytes

    def expand(self) -> npt.NDArray[np.int8]:
        """The weights int8 [rows, n]: `expand` of every code with its group's multiplier."""
        return expand(unpack_codes(self.codes, self.rows), spread(self.multipliers, self.rows))


def expand(codes: Ints, multipliers: Ints) -> npt.NDArray[np.int8]:
    """round_shift(codes * multipliers, 3), of codes and multipliers in their ranges: within [-127, 127].

    Against the real product, an eighth of code times multiplier: half an LSB of the int8 weights.
    """
    return round_shift(codes.astype(np.int64) * multipliers.astype(np.int64), FRACTION_BITS).astype(np.int8)


def spread(multipliers: Ints, rows: int) -> Ints:
    """The multiplier of every row: [rows, n] of [ceil(rows / `GROUP`), n]."""
    return np.asarray(np.repeat(multipliers, GROUP, 0)[:rows])


def pack_codes(codes: Ints) -> npt.NDArray[np.uint8]:
    """Codes [rows, n] as two in a byte, uint8 [ceil(rows / 2), n]."""
    rows, columns = codes.shape
    pairs = np.zeros((-(-rows // 2) * 2, columns), np.uint8)
    pairs[:rows] = codes.astype(np.uint8) & 15
    return np.asarray(pairs[::2] | pairs[1::2] << 4)


def unpack_codes(packed: Ints, rows: int) -> npt.NDArray[np.int8]:
    """The codes int8 [rows, n] of `pack_codes`."""
    halves = np.stack([packed << 4, packed & 0xF0], 1).astype(np.uint8).view(np.int8) >> 4
    return np.asarray(halves.reshape(-1, packed.shape[1])[:rows])
