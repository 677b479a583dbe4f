"""Numbers of any width side by side in the bytes of a port of more than 64 bits."""

from __future__ import annotations

import numpy as np


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Bytes [cycles, bytes] of integers [cycles, numbers], each cut to ``bits`` bits."""
    each = values.astype(np.int64)[..., None] >> np.arange(bits) & 1
    return np.packbits(each.reshape(len(values), -1).astype(np.uint8), axis=1, bitorder="little")


def signed_numbers(ports: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first ``count`` integers [cycles, count] of ``bits`` bits with a sign in bytes [cycles, bytes]."""
    each = np.unpackbits(ports, axis=1, bitorder="little")[:, : bits * count].reshape(len(ports), count, bits)
    return each @ (1 << np.arange(bits)) - (each[..., -1].astype(np.int64) << bits)
