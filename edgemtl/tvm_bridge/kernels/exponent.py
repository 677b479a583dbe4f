"""`arith.exp2_byte` and `arith.exp2_fine` on vectors of 16-bit lanes."""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import EXP2_FRACTION_BITS, EXP2_TABLE, FINE_EXP2_FRACTION_BITS, FINE_EXP2_TABLE
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, i32, local
from edgemtl.tvm_bridge.kernels.vectors import constant, intrinsic, load, round_halves, store

STEPS = 2**EXP2_FRACTION_BITS
# The law rounds entry >> (8 + whole) half up, which is ((entry >> (7 + whole)) + 1) >> 1: the table holds entry >> 7.
DROPPED_BITS = 7
# The same for 12 bits: entry >> (4 + whole), half up.
FINE_DROPPED_BITS = 3
FINE_STEPS = 2**FINE_EXP2_FRACTION_BITS
LEAST_WHOLE = 13  # from here on every weight is 0
BYTES = 16  # what one permutation of bytes looks up in
LEAST_ENTRY = 255


def exponent_table(fine: bool) -> np.ndarray:
    """The table that `Exponent` reads, int16 [80]: values 255..510, then `_powers`; or, ``fine``, int16 [128]."""
    if fine:
        return (FINE_EXP2_TABLE >> FINE_DROPPED_BITS).astype(np.int16)
    return np.concatenate([EXP2_TABLE >> DROPPED_BITS, _powers()]).astype(np.int16)


def _powers() -> np.ndarray:
    """The low bytes of 2^(8 - whole) for whole below 16: 0 at 0, where 256 is missing, and from 9 on."""
    return np.array([(1 << 8 >> whole) & 255 for whole in range(BYTES)])


def exponent_lanes(target: CpuTarget) -> int:
    """16-bit lanes of one register."""
    return 2 * target.lanes


class Exponent:
    """255 * 2^(-distance / 64), or ``fine`` 4080 * 2^(-distance / 128), of whole vectors; reads its table once, where
    it is made.
    """

    def __init__(self, table: Buffer, target: CpuTarget, fine: bool) -> None:
        self.table, self.target, self.lanes = table, target, exponent_lanes(target)
        self.steps, self.fraction_bits = STEPS, EXP2_FRACTION_BITS
        ways = {512: self._permuted, 256: self._shuffled}
        if fine:
            self.steps, self.fraction_bits = FINE_STEPS, FINE_EXP2_FRACTION_BITS
            ways = {512: self._permuted}
        self.weigh = ways.get(target.vector_bits, self._looked_up)
        self.registers: list[Expr] = []
        if target.vector_bits == 512:
            starts = range(0, self.steps, self.lanes)
            self.registers = [T.bind(load(table, (i32(first),), self.lanes)) for first in starts]
        elif target.vector_bits == 256 and not fine:
            self.registers = [T.bind(self._bytes(first)) for first in range(0, STEPS + BYTES, BYTES)]

    def __call__(self, distance: Expr) -> Expr:
        """Weights of distances, both vectors of int16 lanes; distances are read as unsigned."""
        return self.weigh(T.bind(distance))

    def _permuted(self, distance: Expr) -> Expr:
        """A permutation reads two registers of the table by the low six bits; the next bit chooses between two pairs.

        A shift of 16 or more leaves nothing.
        """
        kind = f"int16x{self.lanes}"
        pairs = zip(self.registers[::2], self.registers[1::2], strict=True)
        entry, *upper = (intrinsic(kind, "x86.avx512.vpermi2var.hi.512", low, distance, high) for low, high in pairs)
        if upper:
            is_upper = (distance & constant(STEPS, "int16", self.lanes)) > constant(0, "int16", self.lanes)
            entry = tirx.Select(is_upper, upper[0], entry)
        unsigned = tirx.reinterpret(f"uint16x{self.lanes}", distance)
        whole = tirx.reinterpret(kind, unsigned >> constant(self.fraction_bits, "uint16", self.lanes))
        shifted = intrinsic(kind, "x86.avx512.psrlv.w.512", entry, whole)
        one = constant(1, "int16", self.lanes)
        return (shifted + one) >> one

    def _bytes(self, first: int) -> Expr:
        """Sixteen entries as bytes, in both halves of a register; 255 is taken off the values."""
        entries = load(self.table, (i32(first),), BYTES)
        if first < STEPS:
            entries = entries - constant(LEAST_ENTRY, "int16", BYTES)
        registers = T.bind(entries.astype(f"int8x{BYTES}"))
        return tirx.Shuffle([registers, registers], [i32(place) for place in range(2 * BYTES)])

    def _shuffled(self, distance: Expr) -> Expr:
        """AVX2 has no shifts by lane: a rounding product, (entry 2^6 2^(8 - whole) + 2^14) >> 15, is one."""
        kind, lanes = "int16", self.lanes

        def of(value: int) -> Expr:
            return constant(value, kind, lanes)

        def looked_up(table: Expr, place: Expr) -> Expr:
            # The high byte's sign makes it zero.
            bytes_ = tirx.reinterpret("int8x32", place | of(-(2**15)))
            return tirx.reinterpret(f"{kind}x{lanes}", intrinsic("int8x32", "x86.avx2.pshuf.b", table, bytes_))

        quarters = [looked_up(table, distance & of(BYTES - 1)) for table in self.registers[:-1]]
        odd, upper = ((distance & of(bit)) > of(0) for bit in (BYTES, 2 * BYTES))
        low, high = (tirx.Select(odd, quarters[at + 1], quarters[at]) for at in (0, 2))
        entry = tirx.Select(upper, high, low) + of(LEAST_ENTRY)
        unsigned = tirx.reinterpret(f"uint16x{lanes}", distance) >> constant(EXP2_FRACTION_BITS, "uint16", lanes)
        whole = T.bind(tirx.reinterpret(f"{kind}x{lanes}", unsigned))
        power = looked_up(self.registers[-1], tirx.min(whole, of(BYTES - 1)))
        power = power | tirx.Select(tirx.EQ(whole, of(0)), of(1 << 8), of(0))
        return round_halves(entry << of(6), power, self.target)

    def _looked_up(self, distance: Expr) -> Expr:
        lanes = self.lanes
        distances, weights = local(lanes, "uint16"), local(lanes, "int16")
        store(distances, (i32(0),), lanes, tirx.reinterpret(f"uint16x{lanes}", distance))
        for lane in range(lanes):
            value = T.bind(distances[lane].astype("int32"))
            whole = tirx.min(value >> i32(self.fraction_bits), i32(LEAST_WHOLE))
            entry = self.table[value & i32(self.steps - 1)].astype("int32")
            T.buffer_store(weights, (((entry >> whole) + i32(1)) >> i32(1)).astype("int16"), [i32(lane)])
        return load(weights, (i32(0),), lanes)
