"""From sums to stored integers: requantisation, saturation, lookup and residual of `edgemtl.hw.law.finish`.

Requantisation runs in float64: `vectors` says how. With AVX-512 a sum has 32 bits and its multiplier 17, so
sum * mul + 2^(shift-1) is an integer below 2^49; the same number with its point moved, sum * (mul * 2^-shift) + 0.5, is
exact, and so is its floor. AVX-512 rounds down a fused product and sum on its own: then any constant may be
added at once, since what is rounded down never falls past an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import INT8, INT16
from edgemtl.hw.law import WIDE, Finish
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, Lane, i32, local, pieces, vector_store
from edgemtl.tvm_bridge.kernels.int8_tiles import SIGN, Sums, has_biased_sums, span
from edgemtl.tvm_bridge.kernels.vectors import constant, intrinsic, requantised

Place = Callable[[Expr, Expr], Sequence[Expr]]
# A register of float32 scales, by its first column.
Scales = Callable[[int], Expr]
TABLE_BYTES = 256
WIDE_ENTRIES = WIDE[1] - WIDE[0] + 1
PERMUTED = 64  # bytes that one permutation looks up
BLOCK = 16  # entries that a shuffle looks up
ROUND_DOWN = 9  # and raise no exceptions
# The high words of the doubles from 2^20 to 2^21 count the integers between, and their low bytes start at 0.
COUNTING = 1.5 * 2**20
COUNTING_WORD = 0x41380000
WHOLE = 0x43300000  # the high word of 2^52: with any low word it is that integer more


def lookup_operand(how: Finish) -> Operand:
    """The operand of a kernel that is the table behind ``how``."""
    return Operand("lookup", (WIDE_ENTRIES if how.wide else TABLE_BYTES,), how.dtype, "weight")


@dataclass(frozen=True)
class OutputStage:
    """Where the results of a kernel go, and what is done on the way."""

    target: CpuTarget
    how: Finish
    y: Buffer
    lookup: Buffer | None = None
    residual: Buffer | None = None

    def store(self, sums: Sums, valid: int, scales: Scales, place: Place) -> None:
        """Finish a tile and store the ``valid`` first columns of each row at ``place(row, column)``."""
        factors = [T.bind(scales(index * self.target.lanes)) for index in range(len(sums[0]))]
        for row, totals in enumerate(sums):
            self._store_row(totals, valid, factors, lambda at, row=row: place(i32(row), at))  # type: ignore[misc]

    def _store_row(
        self, totals: list[Buffer], valid: int, scales: list[Expr], place: Callable[[Expr], Sequence[Expr]]
    ) -> None:
        lanes = self.target.lanes
        width = len(totals) * lanes
        levels = local(max(width, PERMUTED), self.how.dtype)
        finish = _rounded_down if has_biased_sums(self.target) else _requantised
        for index, (total, scale) in enumerate(zip(totals, scales, strict=True)):
            level = finish(total[span(i32(0), lanes)], scale, self.how, lanes)
            T.buffer_store(levels, tirx.Cast(f"{self.how.dtype}x{lanes}", level), [span(i32(index * lanes), lanes)])
        value = self._value(levels, width, place)
        for first, count in [(0, width)] if valid == width else pieces(valid):
            vector_store(
                self.y,
                count,
                lambda lane, first=first: value(first + lane),  # type: ignore[misc]
                lambda lane, first=first: place(first + lane),  # type: ignore[misc]
            )

    def _value(self, levels: Buffer, width: int, place: Callable[[Expr], Sequence[Expr]]) -> Lane:
        """What is stored, by column."""
        if self.lookup is not None:
            entries = look_up(levels, self.lookup, width, self.target)
            return lambda at: entries[at]
        residual = self.residual
        if residual is None:
            return lambda at: levels[at]
        return lambda at: _saturated(levels[at].astype("int32") + residual[tuple(place(at))].astype("int32"))


def _zero(how: Finish) -> int:
    return how.zero if how.dtype == "int8" or how.wide else 0


def _f64(value: float) -> Expr:
    return tirx.const(float(value), "float64")


def _saturated(value: Expr) -> Expr:
    return tirx.max(tirx.min(value, i32(INT16[1])), i32(INT16[0])).astype("int16")


def _requantised(total: Expr, scale: Expr, how: Finish, lanes: int) -> Expr:
    """Sums of one register requantised and saturated."""
    (least, most), zero = how.limits, _zero(how)
    factor = tirx.Cast(f"float64x{lanes}", scale)
    return requantised(total, factor, lanes, (least - zero, most - zero)) + constant(zero, "int32", lanes)


def _rounded_down(total: Expr, scale: Expr, how: Finish, lanes: int) -> Expr:
    """The same for sums that are 2^31 too large, without a conversion between integers and doubles.

    A sum becomes a double as the low word of 2^52. The result is counted in the high word of a double; as integers
    these words have the order of their doubles, so they saturate as they are, negative ones too.
    """
    halves = [_scaled_half(total, scale, COUNTING + 0.5 + _zero(how), lanes, half) for half in range(2)]
    # Blocks of 128 bits hold four sums; each half has two of every block, in doubles.
    high = [first + at for block in range(0, lanes, 4) for first in (block, block + lanes) for at in (1, 3)]
    least, most = (i32(COUNTING_WORD + limit) for limit in how.limits)
    return tirx.min(tirx.max(tirx.Shuffle(halves, high), least), most)


def _scaled_half(total: Expr, scale: Expr, added: float, lanes: int, half: int) -> Expr:
    """sum * scale + added, rounded down, of the lower or upper two sums of every four; as words."""
    double, chosen = (
        f"float64x{lanes // 2}",
        [4 * block + 2 * half + at for block in range(lanes // 4) for at in (0, 1)],
    )
    paired = [lane for low in chosen for lane in (low, lanes)]
    above = tirx.Shuffle([total, tirx.Broadcast(i32(WHOLE), lanes)], paired)
    exact = tirx.reinterpret(double, above) - _f64(2**52 + SIGN)
    factor, constant = tirx.Cast(double, tirx.Shuffle([scale], chosen)), tirx.Broadcast(_f64(added), lanes // 2)
    scaled = T.call_llvm_pure_intrin(double, "llvm.x86.avx512.vfmadd.pd.512", exact, factor, constant, i32(ROUND_DOWN))
    return tirx.reinterpret(f"int32x{lanes}", scaled)


def look_up(levels: Buffer, table: Buffer, width: int, target: CpuTarget) -> Buffer:
    """Entries of ``table`` by the first ``width`` bytes, or wide values, of ``levels``, which has whole registers."""
    wide = str(levels.dtype) == "int16"
    entries = local(levels.shape[0], levels.dtype)
    if wide or target.vector_bits == 128:
        first = WIDE[0] if wide else INT8[0]
        with T.serial(width) as index:
            T.buffer_store(entries, table[levels[index].astype("int32") - first], [index])
        return entries
    size = target.vector_bits // 8
    for first in range(0, width, size):
        everywhere = span(i32(first), size)
        T.buffer_store(entries, looked_up(levels[everywhere], table, target), [everywhere])
    return entries


def looked_up(levels: Expr, table: Buffer, target: CpuTarget) -> Expr:
    """Entries of ``table`` by a register of bytes; x86."""
    return _by_permutation(levels, table) if target.byte_instructions else _by_shuffles(levels, table, target)


def _by_permutation(levels: Expr, table: Buffer) -> Expr:
    """Both halves of the table, of which the sign of a byte chooses one and the other seven bits the entry."""
    index = T.bind(levels)
    quarters = [table[span(i32(first), PERMUTED)] for first in range(0, TABLE_BYTES, PERMUTED)]
    halves = [_permuted(low, index, high) for low, high in (quarters[:2], quarters[2:])]
    negative = index < tirx.Broadcast(tirx.const(0, "int8"), PERMUTED)
    return tirx.Select(negative, halves[0], halves[1])


def _permuted(low: Expr, index: Expr, high: Expr) -> Expr:
    return T.call_llvm_pure_intrin(f"int8x{PERMUTED}", "llvm.x86.avx512.vpermi2var.qi.512", low, index, high)


def _by_shuffles(levels: Expr, table: Buffer, target: CpuTarget) -> Expr:
    """Both halves of the table in blocks of 16 entries, each less by "exclusive or" the block before it.

    A shuffle gives the entry of a byte's low four bits, and zero for a negative byte. With 16 taken off for every block
    (saturated, or the least would wrap), a byte meets its own block and all before it, of which its own remains.
    """
    lanes = target.vector_bits // 8
    name = "x86.avx512.pshuf.b.512" if lanes == 64 else "x86.avx2.pshuf.b"
    sixteen = constant(BLOCK, "int8", lanes)
    entries: Expr = None
    for half in range(2):
        index = T.bind(levels if half else levels ^ constant(INT8[0], "int8", lanes))
        for first in range(half * TABLE_BYTES // 2, (half + 1) * TABLE_BYTES // 2, BLOCK):
            is_first = first % (TABLE_BYTES // 2) == 0
            index = index if is_first else T.bind(intrinsic(f"int8x{lanes}", "ssub.sat", index, sixteen))
            block = table[span(i32(first), BLOCK)]
            change = block if is_first else block ^ table[span(i32(first - BLOCK), BLOCK)]
            everywhere = T.bind(tirx.Shuffle([change] * (lanes // BLOCK), list(range(lanes))))
            entry = intrinsic(f"int8x{lanes}", name, everywhere, index)
            entries = T.bind(entry if entries is None else entries ^ entry)
    return entries
