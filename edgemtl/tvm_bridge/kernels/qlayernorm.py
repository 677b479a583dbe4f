"""Integer LayerNorm: exact sums of a few rows, their reciprocal roots, then the rows scaled in 32 bits.

With m the row's multiplier and S its sum, the law's product is (n x - S) m = P x + R, P = n m, R = -S m. It is below
n 2^33, but without its lowest log2(n) + 2 bits it fits in 32: P_high x + ((P_low x + R_low) >> low bits) + R_high.
One more shift makes it twice the value before halvings, which saturates to 16 bits. Floors compose, so halvings and
rounding follow in one rounding product of 16 bits: (twice * 2^(14 - halvings) + 2^14) >> 15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.errors import UnsupportedError
from edgemtl.operators import QLayerNorm
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel
from edgemtl.tvm_bridge.kernels.vectors import (
    MOST_MULTIPLIER,
    add_pair_products,
    bit_length,
    clip,
    constant,
    f64,
    i64,
    intrinsic,
    load,
    load_some,
    narrowed,
    pack_bytes,
    pack_words,
    pair_products,
    power_of_two,
    round_halves,
    saturate,
    scale_mantissa,
    spread,
    store,
    store_some,
    total,
)

# Rows whose roots are taken together, to hide the latency of a root and a division.
ROWS = 8


@dataclass(frozen=True)
class _LayerNorm:
    """A LayerNorm while it is emitted: its buffers, and what is kept of each row of a block."""

    spec: QLayerNorm
    target: CpuTarget
    x: Buffer
    halvings: Buffer
    offset: Buffer
    y: Buffer
    sums: Buffer
    spreads: Buffer
    low: Buffer
    low_rest: Buffer
    high: Buffer
    high_rest: Buffer
    shift: Buffer

    @property
    def lanes(self) -> int:
        """16-bit lanes of one register."""
        return 2 * self.target.lanes

    @property
    def low_bits(self) -> int:
        """Bits of the product that only carry into the rest: P_high then has 15."""
        return (self.spec.dim - 1).bit_length() + 2


class _Row(NamedTuple):
    """What scaling a row takes: P and R of the module's docstring in two parts each, and the last shift."""

    low: Expr
    low_rest: Expr
    high: Expr
    high_rest: Expr
    shift: Expr


def pack(
    spec: QLayerNorm, target: CpuTarget, halvings: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """2^(14 - halvings), what a rounding product by 2^-15 takes, and offset: int16 in whole registers.

    In each register in the order that the kernel works in.
    """
    padding = (0, _columns(spec, target) - spec.dim)
    order = _order(target)
    factors = np.pad((1 << 14 >> halvings.astype(np.int32)).astype(np.int16), padding)
    offsets = np.pad(offset.astype(np.int16), padding)
    return factors.reshape(-1, order.size)[:, order].ravel(), offsets.reshape(-1, order.size)[:, order].ravel()


def _order(target: CpuTarget) -> np.ndarray:
    """The value that each 16-bit lane holds: on x86 of each eight the even ones first, as they are worked on apart."""
    places = np.arange(2 * target.lanes)
    return places if target.vector_bits == 128 else places.reshape(-1, 4, 2).swapaxes(1, 2).ravel()


def _columns(spec: QLayerNorm, target: CpuTarget) -> int:
    return -(-spec.dim // (2 * target.lanes)) * 2 * target.lanes


def _check(spec: QLayerNorm) -> None:
    """Refuse scales whose shift of a row could be negative."""
    if not spec.leaves_shift:
        what = f"a LayerNorm over {spec.dim} values"
        raise UnsupportedError(what, f"its shift must be larger than {spec.shift}", "calibrate on images that vary")


@cache
def build(spec: QLayerNorm, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, halvings, offset, y."""
    _check(spec)
    shape, columns = (spec.rows, spec.dim), _columns(spec, target)
    operands = [
        Operand("x", shape, "int16", "input"),
        Operand("halvings", (columns,), "int16", "weight"),
        Operand("offset", (columns,), "int16", "weight"),
        Operand("y", shape, "int16" if spec.wide else "int8", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        blocks = -(-spec.rows // ROWS)
        share = -(-blocks // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            first = (part * share + index) * ROWS
            with guarded(tirx.all(part < target.threads, first < spec.rows)):
                scratch = (local(ROWS, kind) for kind in ("int32", "int64", *["int32"] * len(_Row._fields)))
                _emit_block(_LayerNorm(spec, target, *buffers, *scratch), first)

    symbol = f"qlayernorm_{spec.rows}x{spec.dim}_{spec.epsilon}_{spec.mul}_{spec.shift}"
    return define(f"{symbol}{'_to_wide' if spec.wide else ''}", operands, body)


def _emit_block(n: _LayerNorm, first: Expr) -> None:
    count = T.bind(tirx.min(i32(ROWS), i32(n.spec.rows) - first))
    for emit in (_sum, _take_root, _scale):
        with T.serial(count) as row:
            emit(n, first, row)


def _sum(n: _LayerNorm, first: Expr, row: Expr) -> None:
    """The sum of a row, and n^2 times its variance plus epsilon.

    Squares are summed modulo 2^32, and their high halves apart: what the sum of the high halves leaves is far below
    2^32 and so known.
    """
    narrow = n.lanes if n.target.vector_bits == 128 else n.target.lanes
    values, squares, halves = (local(narrow, "int32") for _ in range(3))
    for register in (values, squares, halves):
        store(register, (i32(0),), narrow, constant(0, "int32", narrow))

    def add(x: Expr) -> None:
        x = T.bind(x)
        square = T.bind(_products(n, x, x))
        high = tirx.reinterpret(f"uint32x{narrow}", square) >> constant(16, "uint32", narrow)
        one = constant(1, "int16", n.lanes)
        terms = (_products(n, x, one), square, tirx.reinterpret(f"int32x{narrow}", high))
        for register, term in zip((values, squares, halves), terms, strict=True):
            store(register, (i32(0),), narrow, load(register, (i32(0),), narrow) + term)

    _for_registers(n, first + row, add)
    high = T.bind(load(halves, (i32(0),), narrow))
    low = load(squares, (i32(0),), narrow) - (high << constant(16, "int32", narrow))
    square_sum = (total(high, "int32").astype("int64") << i64(16)) + total(low, "int32").astype("int64")
    summed = T.bind(total(load(values, (i32(0),), narrow), "int32"))
    wide = summed.astype("int64")
    T.buffer_store(n.sums, summed, [row])
    T.buffer_store(n.spreads, i64(n.spec.dim) * square_sum - wide * wide + i64(n.spec.epsilon), [row])


def _products(n: _LayerNorm, a: Expr, b: Expr) -> Expr:
    """Products of int16 lanes as int32, on x86 of two neighbours in a sum."""
    if n.target.vector_bits > 128:
        return pair_products(a, b, n.target)
    return a.astype(f"int32x{n.lanes}") * b.astype(f"int32x{n.lanes}")


def _for_registers(n: _LayerNorm, row: Expr, emit: Callable[[Expr], None]) -> None:
    """Call ``emit(x)`` for all registers of a row."""
    whole, rest = divmod(n.spec.dim, n.lanes)
    if whole:
        with T.serial(whole) as index:
            emit(load(n.x, (row, index * n.lanes), n.lanes))
    if rest:
        emit(load_some(n.x, (row, row * 0 + whole * n.lanes), rest, n.lanes))


def _take_root(n: _LayerNorm, first: Expr, row: Expr) -> None:
    """`arith.reciprocal_sqrt` and what follows from it for a row.

    In float64: scaling by a power of two is exact, a root of less than 53 bits is further from the next integer than it
    errs, and so is the quotient of 2^33 and an integer of 17 bits.
    """
    value = T.bind(n.spreads[row])
    exponent = T.bind(((bit_length(value) + i64(1)) >> i64(1)) - i64(17))
    scaled = tirx.floor(value.astype("float64") * power_of_two(i64(-2) * exponent))
    mantissa = (f64(2.0**33) / tirx.floor(tirx.sqrt(scaled))).astype("int64")
    factor = T.bind(scale_mantissa(tirx.min(mantissa, i64(MOST_MULTIPLIER)), n.spec.mul))
    slope, rest = T.bind(factor * i64(n.spec.dim)), T.bind(i64(0) - factor * n.sums[row].astype("int64"))
    bits, mask = i64(n.low_bits), i64((1 << n.low_bits) - 1)
    # The law shifts by 16 + exponent + shift; one bit is left for rounding. A shift of 31 leaves only the sign, one
    # below 0 is that of a row of equal values (_check), whose products are 0.
    shift = clip(exponent + i64(16 + n.spec.shift - n.low_bits - 1), i64(0), i64(31))
    factors = (slope & mask, rest & mask, slope >> bits, rest >> bits, shift)
    for buffer, value in zip((n.low, n.low_rest, n.high, n.high_rest, n.shift), factors, strict=True):
        T.buffer_store(buffer, value.astype("int32"), [row])


def _scale(n: _LayerNorm, first: Expr, row: Expr) -> None:
    factors = _Row(*(T.bind(buffer[row]) for buffer in (n.low, n.low_rest, n.high, n.high_rest, n.shift)))
    scale = _scale_paired if n.target.vector_bits > 128 else _scale_plain
    wide = n.lanes * (2 if n.target.vector_bits > 128 else 1)
    whole, rest = divmod(n.spec.dim, wide)
    if whole:
        with T.serial(whole) as index:
            scale(n, factors, (first + row, index * wide), wide)
    if rest:
        scale(n, factors, (first + row, row * 0 + whole * wide), rest)


def _scale_paired(n: _LayerNorm, row: _Row, place: tuple[Expr, Expr], valid: int) -> None:
    """One register of bytes from two of int16; bytes return to their order at the end."""
    halves = []
    for first in range(0, valid, n.lanes):
        x = T.bind(load_some(n.x, (place[0], place[1] + first), min(n.lanes, valid - first), n.lanes))
        even, odd = (_twice(n, x, row, bits) for bits in (0, 16))
        factor = load(n.halvings, (place[1] + first,), n.lanes)
        rounded = round_halves(pack_words(even, odd, n.target), factor, n.target)
        offset = load(n.offset, (place[1] + first,), n.lanes)
        halves.append(T.bind(intrinsic(f"int16x{n.lanes}", "sadd.sat", rounded, offset)))
    if n.spec.wide:
        _store_wide(n, halves, place, valid)
        return
    packed = pack_bytes(halves[0], halves[-1], n.target)
    places = _order(n.target).argsort(kind="stable")
    bytes_of = [place // 8 * 16 + place % 8 + 8 * half for half in range(len(halves)) for place in places.tolist()]
    result = tirx.Shuffle([packed], [i32(place) for place in bytes_of])
    store_some(n.y, place, valid, len(bytes_of), result)


def _store_wide(n: _LayerNorm, halves: list[Expr], place: tuple[Expr, Expr], valid: int) -> None:
    """Registers of int16, saturated to 12 bits and returned to their order."""
    places = _order(n.target).argsort(kind="stable")
    for index, half in enumerate(halves):
        first = index * n.lanes
        result = tirx.Shuffle([narrowed(half, True, n.lanes)], [i32(at) for at in places.tolist()])
        store_some(n.y, (place[0], place[1] + first), min(n.lanes, valid - first), n.lanes, result)


def _twice(n: _LayerNorm, x: Expr, row: _Row, bits: int) -> Expr:
    """Twice the scaled value of the even (``bits`` 0) or odd (16) int16 lanes, in int32."""
    lanes = n.target.lanes
    low, high = (spread(factor << i32(bits), lanes) for factor in (row.low, row.high))
    low, high = (tirx.reinterpret(f"int16x{n.lanes}", factor) for factor in (low, high))
    # Both sums begin with what does not change in a row, so that neither waits for the other.
    carried = add_pair_products(spread(row.low_rest, lanes), x, low, n.target) >> constant(n.low_bits, "int32", lanes)
    upper = add_pair_products(spread(row.high_rest, lanes), x, high, n.target)
    return (upper + carried) >> spread(row.shift, lanes)


def _scale_plain(n: _LayerNorm, row: _Row, place: tuple[Expr, Expr], valid: int) -> None:
    """The same in 32-bit lanes."""
    lanes, wide = n.lanes, f"int32x{n.lanes}"
    low, low_rest, high, high_rest, shift = (spread(value, lanes) for value in row)
    x = T.bind(load_some(n.x, place, valid, n.lanes).astype(wide))
    twice = (x * high + ((x * low + low_rest) >> constant(n.low_bits, "int32", lanes)) + high_rest) >> shift
    factor = load(n.halvings, (place[1],), lanes).astype(wide)
    rounded = saturate(twice, "int16", lanes).astype(wide) * factor + constant(1 << 14, "int32", lanes)
    offset = load(n.offset, (place[1],), lanes).astype(wide)
    result = narrowed((rounded >> constant(15, "int32", lanes)) + offset, n.spec.wide, lanes)
    store_some(n.y, place, valid, lanes, result)
