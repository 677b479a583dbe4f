"""Requantisation of two registers of sums in 64-bit integers: the law's product, rounding and shift as they are.

A sum times its multiplier is one product of 32 by 32 bits. What is added behind it, for every channel, is
bias * mul + 2^(shift - 1) + (zero + 2^15) * 2^shift: the bias, the rounding, the zero point, and an offset that makes
results unsigned for the saturation to 16 bits. The shift is logical: up to 32 bits the low word is the right one
whatever the sign, and beyond no sum is negative (`clamped_bias`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law import Finish
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, i32
from edgemtl.tvm_bridge.kernels.vectors import constant, i64, intrinsic, load, pack_bytes, spread

OFFSET = 2**15
# Beyond results of this size every sum saturates: those that a byte's shift above 32 leaves, and the others.
REACH, SMALL_REACH = 2.0**28, 2.0**14
MOST_PRODUCTS = 256
"""Products of bytes in a sum: times the largest scale they stay far below `REACH`."""
QUARTERS = 4


def clamped_bias(bias: np.ndarray, scale: np.ndarray, how: Finish) -> np.ndarray:
    """A bias whose results have at most 30 bits and, of bytes with a shift above 32, 15: what saturates still does."""
    mul, shift = unpack_scale(scale)
    reach = np.where((shift > 32) & (how.dtype == "int8"), SMALL_REACH, REACH)
    most = np.floor(np.minimum(reach * 2.0**shift / np.maximum(mul, 1), 2.0**31 - 1)).astype(np.int64)
    return np.clip(bias.astype(np.int64), -most, most)


def pack_scaling(
    bias: np.ndarray, scale: np.ndarray, how: Finish, channels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is added, and multipliers with shifts, as int32 words of int64, for ``channels`` [vectors, 2 * lanes].

    Added [vectors, 4, lanes // 2], the others [vectors, 2, 4, lanes // 2]: of both registers the even channels, then
    the odd ones.
    """
    mul, shift = unpack_scale(scale)
    zero = how.zero if how.dtype == "int8" else 0
    half = np.int64(1) << (shift - 1)
    added = clamped_bias(bias, scale, how) * mul + half + (np.int64(zero + OFFSET) << shift)

    def quarters(values: np.ndarray) -> np.ndarray:
        chosen = values[channels].reshape(len(channels), 2, -1, 2)
        return np.ascontiguousarray(chosen.transpose(0, 1, 3, 2)).reshape(len(channels), QUARTERS, -1)

    factors = np.stack([quarters(mul), quarters(shift)], 1)
    return quarters(added).view(np.int32).ravel(), factors.view(np.int32).ravel()


def load_scaling(added: Buffer, factors: Buffer, vector: Expr, lanes: int) -> list[tuple[Expr, Expr, Expr]]:
    """(multiplier, added, shift) of each quarter of a vector of channels, as `pack_scaling` stored them."""

    def quarter(buffer: Buffer, row: Expr, index: int) -> Expr:
        words = load(buffer, ((row * QUARTERS + index) * lanes,), lanes)
        return T.bind(tirx.reinterpret(f"int64x{lanes // 2}", words))

    return [
        (quarter(factors, vector * 2, index), quarter(added, vector, index), quarter(factors, vector * 2 + 1, index))
        for index in range(QUARTERS)
    ]


def scaled_words(sums: Sequence[Expr], scaling: list[tuple[Expr, Expr, Expr]], target: CpuTarget) -> Expr:
    """Two registers of sums as one of int16, saturated, in the order of `scaled_order`."""
    lanes = target.lanes
    order = [base + 4 * block + at for block in range(lanes // 4) for base in (0, lanes) for at in (0, 2)]
    halves = []
    for half, total in enumerate(sums):
        pairs = tirx.reinterpret(f"int64x{lanes // 2}", total)
        even = _shifted(_low_word(pairs, lanes), scaling[2 * half], lanes)
        odd = _shifted(pairs >> spread(i64(32), lanes // 2), scaling[2 * half + 1], lanes)
        halves.append(T.bind(tirx.Shuffle([even, odd], order)))
    name = "x86.avx512.packusdw.512" if target.vector_bits == 512 else "x86.avx2.packusdw"
    unsigned = intrinsic(f"int16x{2 * lanes}", name, *halves)
    return T.bind(unsigned ^ constant(-OFFSET, "int16", 2 * lanes))


def _low_word(pairs: Expr, lanes: int) -> Expr:
    """The low word of every pair with its sign."""
    word = spread(i64(32), lanes // 2)
    return (pairs << word) >> word


def _shifted(value: Expr, scaling: tuple[Expr, Expr, Expr], lanes: int) -> Expr:
    """(value * mul + added) >> shift as pairs of words, of which the low ones count."""
    mul, added, shift = scaling
    total = value * _low_word(mul, lanes) + added
    unsigned = f"uint64x{lanes // 2}"
    return tirx.reinterpret(f"int32x{lanes}", tirx.reinterpret(unsigned, total) >> tirx.reinterpret(unsigned, shift))


def scaled_order(lanes: int) -> np.ndarray:
    """Which channel each int16 of `scaled_words` is."""
    blocks = [half * lanes + 4 * block + at for block in range(lanes // 4) for half in range(2) for at in (0, 2, 1, 3)]
    return np.array(blocks)


def in_order(words: Expr, lanes: int) -> Expr:
    """`scaled_words` by channels."""
    return tirx.Shuffle([words], [int(place) for place in np.argsort(scaled_order(lanes))])


def packed_bytes(first: Expr, second: Expr, low: int, target: CpuTarget) -> Expr:
    """Two registers of `scaled_words` as one of bytes from ``low`` to 127: the first's channels, then the other's."""
    lanes = target.lanes
    order = scaled_order(lanes).reshape(-1, 8)
    places = np.concatenate([order, order + 2 * lanes], 1).ravel()
    saturated = tirx.Shuffle([pack_bytes(first, second, target)], [int(place) for place in np.argsort(places)])
    return tirx.max(saturated, constant(low, "int8", 4 * lanes))


def channel_starts(channels: int, lanes: int) -> list[int]:
    """The first channel of each vector of 2 * ``lanes``; the last one begins earlier rather than being smaller."""
    return [min(first, channels - 2 * lanes) for first in range(0, channels, 2 * lanes)]


def channel_start(vector: Expr, channels: int, lanes: int) -> Expr:
    """The same for a computed vector."""
    return T.bind(tirx.min(vector * (2 * lanes), i32(channels - 2 * lanes)))
