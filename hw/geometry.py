"""How the array's rows are wired, and how wide memories are divided into lanes.

A column of the array has S chains of `CHAIN_ROWS` DSP blocks, S = array_rows / 8. Byte j of a tile of k drives chain
j mod S, at place j div S: the first bytes of a tile lie at the first places of all chains. Weights are swapped place by
place, one a cycle, so the next tile may be loaded from the cycle in which place 0 swaps: row j arrives in cycle
j div W or later, for W rows a cycle, and its place has swapped by cycle j div S, as long as W is at most S.

A memory ``width_bytes`` wide is lanes of a granule each with an address of their own: granule g lies in lane g mod
lanes. Granules that are accessed in one cycle must lie in different lanes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from edgemtl.hw.isa import INT8_WEIGHTS, LINE_BYTES, Instruction
from edgemtl.hw.law_weights4 import GROUP

if TYPE_CHECKING:
    from edgemtl.hw.spec import Engine

CHAIN_ROWS: Final = 8
"""Rows of one chain of DSP blocks: two sums of eight int8 products share a block in 18 bits each."""
HEADS: Final = (3, 2)
"""Numbers of heads that SCORES can compute at once, the largest first."""
TABLE_BYTES: Final = 256
"""A look-up table in front of a layer's weights."""
FEW_CHANNELS: Final = 4
"""Most channels of a pixel that a shift register of bytes takes past all taps of a row of a kernel."""
COLUMN_BYTES: Final = 8
"""Bias and scale of one column, int32 each."""
SCORE_GRANULES: Final = 2
"""Granules of the 16-bit scores of one tile of keys."""


def chain_of(byte: int, chains: int) -> int:
    """The chain that a byte of a tile of k drives."""
    return byte % chains


def place_of(byte: int, chains: int) -> int:
    """Its place in that chain, from 0: the cycle, after the swap began, in which its weights are swapped."""
    return byte // chains


def head_bytes(array_rows: int, heads: int) -> npt.NDArray[np.int64]:
    """The bytes of a query or key that each head reads, int64 [heads, array_rows / heads], ascending.

    Head i has the chains i * S / heads to (i + 1) * S / heads, so that the sums of its chains are added apart.
    """
    chains = array_rows // CHAIN_ROWS
    head = np.arange(array_rows) % chains // (chains // heads)
    return np.argsort(head, kind="stable").reshape(heads, -1)


def depth_of(instruction: Instruction) -> int:
    """Rows of weights of a LINEAR or a CONV: the bytes of a row, or those of a pixel for each tap of the kernel."""
    if instruction.name != "CONV":
        return instruction["k"]
    return instruction["kernel_height"] * instruction["kernel_width"] * instruction["k"]


def taps_in_tile(rows: int, columns: int, k: int, kernel_width: int, stride: int, dilation: int) -> int:
    """Horizontal taps of a convolution of ``k`` channels that share a tile of an array of ``rows`` x ``columns``.

    Neighbouring pixels come from a shift register: all taps where a pixel has few channels, three with a third of the
    rows each where they slide by one pixel. Else a tile has one tap.
    """
    if dilation == 1 and k <= FEW_CHANNELS and kernel_width * k <= rows:
        return kernel_width
    slides = (kernel_width, stride, dilation) == (3, 1, 1)
    return 3 if slides and rows % 3 == 0 and rows // 3 >= columns else 1


def rows_read(instruction: Instruction) -> list[int]:
    """The rows of its image that a CONV reads, in order: those of its windows that lie in the image."""
    i = instruction
    outputs = range(i["first"], i["first"] + i["rows"])
    taps = range(0, i["kernel_height"] * i["dilation"], max(i["dilation"], 1))
    rows = {y * i["stride"] - i["top"] + tap for y in outputs for tap in taps}
    return sorted(row for row in rows if 0 <= row < i["height"])


def groups_in(first: int, rows: int) -> int:
    """Multipliers of a column that a tile of k brings: of the groups of rows that begin in it."""
    return -(-(first + rows) // GROUP) - -(-first // GROUP)


def weight_bytes(columns: int, k: int, n: int, table: int, format_number: int = INT8_WEIGHTS) -> int:
    """Bytes of a layer of k rows and n columns in the ring, ``columns`` a tile, before they are padded to lines."""
    kernel = columns * k if format_number == INT8_WEIGHTS else columns * k // 2 + columns * groups_in(0, k)
    return TABLE_BYTES * table + -(-n // columns) * (columns * COLUMN_BYTES + kernel)


def weight_lines(columns: int, k: int, n: int, table: int, format_number: int = INT8_WEIGHTS) -> int:
    """Lines of a layer of k rows and n columns, ``columns`` a tile."""
    return -(-weight_bytes(columns, k, n, table, format_number) // LINE_BYTES)


def lanes_of(engine: Engine, region: str) -> int:
    """Lanes of a region, by its name in `isa.REGIONS`."""
    return int(getattr(engine.buffers, region.rstrip("01")).width_bytes) // engine.array_columns


def lie_apart(granules: Iterable[int], lanes: int) -> bool:
    """Whether granules that are accessed in one cycle lie in different lanes."""
    used = [granule % lanes for granule in granules]
    return len(set(used)) == len(used)


def score_granules(engine: Engine) -> int:
    """Granules of each head's row of scores that SCORES writes in one cycle."""
    return SCORE_GRANULES * engine.dsp_clock_ratio


def score_rows_lie_apart(stride: int, heads: int, lanes: int, granules: int) -> bool:
    """Whether what SCORES writes in one cycle, ``granules`` of a row of each head, lies in different lanes."""
    return lie_apart((row * stride + part for row in range(heads) for part in range(granules)), lanes)


def can_compute_heads(engine: Engine, heads: int) -> bool:
    """Whether SCORES can compute so many heads at once: chains divide among them, and the lanes take their rows."""
    return engine.segments % heads == 0 and lanes_of(engine, "scores0") >= score_granules(engine) * heads


def enlarged_from(first: int, rows: int, height: int, factor: int, nearest: bool) -> range:
    """The rows of an image of ``height`` rows that ``rows`` rows from ``first`` on of ``factor`` times as many need.

    Nearest: row y takes floor(y / factor). Bilinear: centres of pixels at halves, y + 1/2 = factor (source + 1/2),
    between the row below and the next, both clamped.
    """
    last = first + rows - 1
    if nearest:
        return range(first // factor, last // factor + 1)
    low, high = ((2 * y + 1 - factor) // (2 * factor) for y in (first, last))
    return range(max(low, 0), min(high + 1, height - 1) + 1)
