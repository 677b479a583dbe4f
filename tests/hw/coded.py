"""Layers with weights in 4 bits as the ring holds them, loop by loop from docs/accelerator.md, and their law."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

EMPTY = 12 << 17
"""The scale word of a column that is none: mul 0, shift 12."""


def draw_codes(rng: np.random.Generator, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes [k, n] and multipliers [groups, n] over their whole ranges."""
    codes = rng.integers(-8, 7, (k, n), endpoint=True)
    return codes.astype(np.int8), rng.integers(-127, 127, (-(-k // 64), n), endpoint=True).astype(np.int8)


def expanded(codes: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """(c m + 4) >> 3 of every weight."""
    rows = [
        [(int(c) * int(multipliers[i // 64, j]) + 4) >> 3 for j, c in enumerate(row)] for i, row in enumerate(codes)
    ]
    return np.array(rows, np.int8)


def coded_layer(
    array: tuple[int, int],
    codes: np.ndarray,
    multipliers: np.ndarray,
    bias: Sequence[int],
    scale: Sequence[int],
    table: Sequence[int] | None,
) -> bytes:
    """Whole lines for an array of so many rows and columns."""
    (height, width), (k, n) = array, codes.shape
    data = b"" if table is None else struct.pack("256b", *table)
    for first in range(0, n, width):
        columns = range(first, first + width)
        data += b"".join(struct.pack("<i", bias[c] if c < n else 0) for c in columns)
        data += b"".join(struct.pack("<i", scale[c] if c < n else EMPTY) for c in columns)
        for tile in range(0, k, height):
            rows = range(tile, min(tile + height, k))
            for row in rows:
                if row % 64 == 0:
                    data += b"".join(struct.pack("b", multipliers[row // 64, c] if c < n else 0) for c in columns)
            for row in rows:
                nibbles = [int(codes[row, c]) & 15 if c < n else 0 for c in columns]
                data += bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return data + bytes(-len(data) % 64)
