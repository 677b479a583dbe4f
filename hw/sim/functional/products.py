"""Products of the array, weights as the ring holds them, and how sums become results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import INT8, INT16, SHIFT_RANGE, Ints, Wide, requantise, saturate, unpack_scale
from edgemtl.hw.geometry import COLUMN_BYTES, TABLE_BYTES
from edgemtl.hw.isa import Instruction
from edgemtl.hw.rules import MOST_SUM
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.memory import Bytes, as_bytes


@dataclass(frozen=True)
class Weights:
    """A layer's weights: w int8 [k, N], bias, mul and shift int64 [N], table int8 [256] or None; N in whole tiles."""

    w: npt.NDArray[np.int8]
    bias: Wide
    mul: Wide
    shift: Wide
    table: npt.NDArray[np.int8] | None


def unpack_weights(data: Bytes, columns: int, k: int, n: int, table: int) -> Weights:
    """The layer that begins at the first byte of ``data``. Raises Fault for a shift that no scale has."""
    tiles, start = -(-n // columns), TABLE_BYTES * table
    body = data[start : start + tiles * columns * (k + COLUMN_BYTES)].reshape(tiles, -1)
    bias, scale = (np.ascontiguousarray(body[:, i * 4 * columns :][:, : 4 * columns]).view("<i4") for i in range(2))
    w = body[:, COLUMN_BYTES * columns :].view(np.int8).reshape(tiles, k, columns)
    mul, shift = unpack_scale(scale.reshape(-1))
    check_shifts(shift, "shifts of the weights")
    looked_up = data[:TABLE_BYTES].view(np.int8) if table else None
    return Weights(
        np.ascontiguousarray(w.transpose(1, 0, 2)).reshape(k, -1),
        bias.reshape(-1).astype(np.int64),
        mul,
        shift,
        looked_up,
    )


def product(x: Ints, w: Ints) -> Wide:
    """x @ w of bytes, int64. Exact: sums keep below what float32 or float64 hold, float32 where it is enough."""
    largest = (255 if x.dtype == np.uint8 else 128) * 128 * x.shape[-1]
    kind = np.float32 if largest < 2**24 else np.float64
    return np.asarray((x.astype(kind) @ w.astype(kind)).astype(np.int64))


def check_shifts(shift: Wide, what: str) -> None:
    """Raise Fault where a shift is none that a requantisation has."""
    low, high = SHIFT_RANGE
    if shift.min() < low or shift.max() > high:
        raise Fault(f"{what} must be in {low}..{high}, not {shift.min()}..{shift.max()}")


def check_sums(sums: Wide) -> Wide:
    """``sums``. Raises Fault where one is more than the array's sums hold."""
    if (largest := int(np.abs(sums).max(initial=0))) >= MOST_SUM:
        raise Fault(f"sums must keep below {MOST_SUM}, and one has the magnitude {largest}")
    return sums


def finish(sums: Wide, weights: Weights, instruction: Instruction, residual: Ints | None = None) -> Bytes:
    """Bytes of results of sums [rows, N] as ``word`` says: uint8 [rows, N], or [rows, 2 N] where ``wide``."""
    value = requantise(check_sums(sums + weights.bias), weights.mul, weights.shift)
    if instruction["wide"]:
        value = saturate(value, *INT16)
        if residual is not None:
            value = saturate(value + residual.astype(np.int64), *INT16)
        return as_bytes(value.astype("<i2"))
    value = saturate(value + instruction["zero"], instruction["low"], INT8[1])
    return as_bytes(value.astype(np.int8) if weights.table is None else weights.table[value + 128])
