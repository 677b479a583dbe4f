"""Products of the array, weights as the ring holds them, and how sums become results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import INT8, INT16, SHIFT_RANGE, Ints, Wide, requantise, saturate, unpack_scale
from edgemtl.hw.geometry import COLUMN_BYTES, TABLE_BYTES, groups_in, weight_bytes
from edgemtl.hw.isa import CODED_WEIGHTS, INT8_WEIGHTS, Instruction
from edgemtl.hw.law_weights4 import GROUP, MULTIPLIERS, expand
from edgemtl.hw.rules import MOST_SUM
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.memory import Bytes, as_bytes
from edgemtl.hw.spec import Engine


@dataclass(frozen=True)
class Weights:
    """A layer's weights: w int8 [k, N], bias, mul and shift int64 [N], table int8 [256] or None; N in whole tiles."""

    w: npt.NDArray[np.int8]
    bias: Wide
    mul: Wide
    shift: Wide
    table: npt.NDArray[np.int8] | None


def unpack_weights(data: Bytes, engine: Engine, k: int, n: int, table: int) -> Weights:
    """The int8 layer that begins at the first byte of ``data``. Raises Fault for a shift that no scale has."""
    columns = engine.array_columns
    body = _tiles_of_columns(data, columns, k, n, table, INT8_WEIGHTS)
    w = body[:, COLUMN_BYTES * columns :].view(np.int8).reshape(-1, k, columns)
    return _layer(data, body, w, table)


def unpack_coded(data: Bytes, engine: Engine, k: int, n: int, table: int) -> Weights:
    """The layer of 4-bit codes that begins at the first byte of ``data``, with the weights they expand to.

    Raises Fault for a shift that no scale has, and for a multiplier that no group has.
    """
    columns, multipliers, codes = engine.array_columns, list[Bytes](), list[Bytes]()
    body = _tiles_of_columns(data, columns, k, n, table, CODED_WEIGHTS)
    at = COLUMN_BYTES * columns
    for first in range(0, k, engine.array_rows):
        rows = min(engine.array_rows, k - first)
        for parts, size in ((multipliers, columns * groups_in(first, rows)), (codes, columns * rows // 2)):
            parts.append(body[:, at : at + size])
            at += size
    groups = np.ascontiguousarray(np.concatenate(multipliers, 1)).view(np.int8).reshape(len(body), -1, columns)
    low, high = MULTIPLIERS
    if groups.min() < low or groups.max() > high:
        raise Fault(f"multipliers of 4-bit weights must be in {low}..{high}, not {groups.min()}..{groups.max()}")
    packed = np.concatenate(codes, 1)
    # Code i of a tile is in the low half of byte i / 2 where i is even: a pair of columns of one row.
    signed = np.stack([packed << 4, packed & 0xF0], 2).view(np.int8) >> 4
    w = expand(signed.reshape(len(body), k, columns), np.repeat(groups, GROUP, 1)[:, :k])
    return _layer(data, body, w, table)


def _tiles_of_columns(data: Bytes, columns: int, k: int, n: int, table: int, format_number: int) -> Bytes:
    """Bytes behind the table, [tiles of columns, bytes of one]."""
    end = weight_bytes(columns, k, n, table, format_number)
    return data[TABLE_BYTES * table : end].reshape(-(-n // columns), -1)


def _layer(data: Bytes, body: Bytes, w: npt.NDArray[np.int8], table: int) -> Weights:
    """Weights ``w`` [tiles of columns, k, columns] with the bias and scale in front of each tile of columns."""
    k, columns = w.shape[1:]
    bias, scale = (np.ascontiguousarray(body[:, i * 4 * columns :][:, : 4 * columns]).view("<i4") for i in range(2))
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
    if shift.size and (shift.min() < low or shift.max() > high):
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
        value = saturate(value, 0 if instruction["low"] == 0 else INT16[0], INT16[1])
        if residual is not None:
            value = saturate(value + residual.astype(np.int64), *INT16)
        return as_bytes(value.astype("<i2"))
    value = saturate(value + instruction["zero"], instruction["low"], INT8[1])
    return as_bytes(value.astype(np.int8) if weights.table is None else weights.table[value + 128])
