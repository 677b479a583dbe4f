"""Words of the integer kernels: whole vectors as values, rounding and reciprocals of the law, rows over threads.

Requantisation is done in float64, without an instruction that rounds down. A value of 31 bits times mul * 2^-shift is
an exact v on the grid of 2^-shift. Let e be 2^-18 of the factor. Then e < 2^-shift / 2, and since |v| <= 2^31 factor, e
is at least 8 times the distance of doubles at v. So v + e, rounded or fused however LLVM likes, lies between v and the
grid's next point, and its nearest integer is floor(v + 1/2): no half is met. Adding 1.5 * 2^52 rounds to the nearest
integer and leaves it in the low word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import MULTIPLIER_BITS
from edgemtl.hw.law import WIDE
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, guarded, i32, local, parallel, pieces

MOST_MULTIPLIER = 2**MULTIPLIER_BITS - 1
FLOAT64_BIAS, FLOAT64_MANTISSA = 1023, 52
COUNTED = 1.5 * 2.0**52


def i64(value: int) -> Expr:
    """An int64 constant."""
    return tirx.const(value, "int64")


def f64(value: float) -> Expr:
    """A float64 constant."""
    return tirx.const(value, "float64")


def spread(value: Expr, lanes: int) -> Expr:
    """A vector of equal lanes; one lane is the value itself, here as everywhere."""
    return T.Broadcast(value, lanes) if lanes > 1 else value


def constant(value: int, dtype: str, lanes: int) -> Expr:
    """A vector of equal constants."""
    return spread(tirx.const(value, dtype), lanes)


def vector_type(dtype: str, lanes: int) -> str:
    """The type of a vector; one lane is the value itself."""
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


def load(buffer: Buffer, index: Sequence[Expr], lanes: int) -> Expr:
    """``lanes`` neighbours from ``index`` on."""
    return buffer.vload(list(index), vector_type(str(buffer.dtype), lanes)) if lanes > 1 else buffer[tuple(index)]


def store(buffer: Buffer, index: Sequence[Expr], lanes: int, value: Expr) -> None:
    """Store a vector of ``lanes`` at ``index``."""
    T.buffer_store(buffer, value, [*index[:-1], T.Ramp(index[-1], 1, lanes) if lanes > 1 else index[-1]])


def load_some(buffer: Buffer, index: Sequence[Expr], valid: int, lanes: int) -> Expr:
    """A vector of which only the first ``valid`` lanes exist in memory; zeros in the others."""
    if valid == lanes:
        return load(buffer, index, lanes)
    spare = local(lanes, buffer.dtype)
    store(spare, (i32(0),), lanes, constant(0, buffer.dtype, lanes))
    for first, count in pieces(valid):
        store(spare, (i32(first),), count, load(buffer, (*index[:-1], index[-1] + first), count))
    return load(spare, (i32(0),), lanes)


def store_some(buffer: Buffer, index: Sequence[Expr], valid: int, lanes: int, value: Expr) -> None:
    """Store the first ``valid`` lanes of a vector."""
    if valid == lanes:
        store(buffer, index, lanes, value)
        return
    spare = local(lanes, buffer.dtype)
    store(spare, (i32(0),), lanes, value)
    for first, count in pieces(valid):
        store(buffer, (*index[:-1], index[-1] + first), count, load(spare, (i32(first),), count))


def intrinsic(dtype: str, name: str, *arguments: Expr) -> Expr:
    """A pure instruction by LLVM's name for it."""
    return tirx.call_llvm_pure_intrin(dtype, f"llvm.{name}", *arguments)


def clip(value: Expr, low: Expr, high: Expr) -> Expr:
    """value, or the bound it lies beyond; bounds of its own type."""
    return tirx.max(tirx.min(value, high), low)


def saturate(value: Expr, dtype: str, lanes: int) -> Expr:
    """A vector of wider integers as int8 or int16, saturated."""
    bits, wide = (8 if dtype == "int8" else 16), str(value.ty.dtype).split("x")[0]
    low, high = (constant(end, wide, lanes) for end in (-(1 << bits - 1), (1 << bits - 1) - 1))
    return clip(value, low, high).astype(f"{dtype}x{lanes}")


def narrowed(value: Expr, wide: bool, lanes: int) -> Expr:
    """A vector of wider integers as activations: int8, or int16 of 12 bits, saturated."""
    if not wide:
        return saturate(value, "int8", lanes)
    dtype = str(value.ty.dtype).split("x")[0]
    low, high = (constant(end, dtype, lanes) for end in WIDE)
    return clip(value, low, high).astype(f"int16x{lanes}")


def total(value: Expr, dtype: str) -> Expr:
    """The sum of all lanes."""
    return intrinsic(dtype, "vector.reduce.add", value)


def pair_products(a: Expr, b: Expr, target: CpuTarget) -> Expr:
    """Sums of the products of neighbouring int16: two vectors of a register each to one of int32; x86 only."""
    name = "x86.avx512.pmaddw.d.512" if target.vector_bits == 512 else "x86.avx2.pmadd.wd"
    return intrinsic(f"int32x{target.lanes}", name, a, b)


def requantised(value: Expr, factor: Expr, lanes: int, limits: tuple[int, int] | None = None) -> Expr:
    """floor(value * factor + 1/2) as int32: an int32 vector times a float64 vector, saturated to ``limits``.

    A factor has a mantissa of up to 20 bits. Without limits the result must fit. What is added to a product is less
    than the distance of products, and more than what rounding to 53 bits takes away: halves go up, nothing else does.
    """
    above = value.astype(vector_type("float64", lanes)) * factor + factor * spread(f64(2.0**-21), lanes)
    counted = above + spread(f64(COUNTED), lanes)
    if limits is not None:
        counted = clip(counted, *(spread(f64(COUNTED + limit), lanes) for limit in limits))
    if lanes == 1:
        return tirx.reinterpret("int64", counted).astype("int32")
    return tirx.Shuffle([tirx.reinterpret(f"int32x{2 * lanes}", counted)], list(range(0, 2 * lanes, 2)))


def power_of_two(exponent: Expr) -> Expr:
    """2^exponent as float64, of an int64 between -1022 and 1023."""
    return tirx.reinterpret("float64", (exponent + i64(FLOAT64_BIAS)) << i64(FLOAT64_MANTISSA))


def bit_length(value: Expr) -> Expr:
    """Bits of a positive int64 below 2^53, as int64: the exponent of a float64 that holds it exactly."""
    bits = tirx.reinterpret("int64", value.astype("float64"))
    return (bits >> i64(FLOAT64_MANTISSA)) - i64(FLOAT64_BIAS - 1)


def reciprocal(value: Expr) -> tuple[Expr, Expr]:
    """`arith.reciprocal` of an int64: mantissa and exponent as int64.

    2^(16 + exponent) / value in float64, truncated, is the floor: a quotient that is no integer is at least 1 / value >
    2^-31 away from one, and the division errs by less than 2^-36.
    """
    exponent = T.bind(bit_length(value))
    quotient = power_of_two(exponent + i64(16)) / value.astype("float64")
    return T.bind(tirx.min(quotient.astype("int64"), i64(MOST_MULTIPLIER))), exponent


def scale_mantissa(mantissa: Expr, mul: int) -> Expr:
    """`arith.scale_mantissa` of an int64."""
    half = i64(1 << MULTIPLIER_BITS - 1)
    return tirx.min((mantissa * i64(mul) + half) >> i64(MULTIPLIER_BITS), i64(MOST_MULTIPLIER))


def each_row(rows: int, target: CpuTarget, emit: Callable[[Expr], None]) -> None:
    """Call ``emit(row)`` in a loop over rows in equal shares for every part."""
    share = -(-rows // target.threads)
    with parallel(target.threads) as part, T.serial(share) as index:
        row = part * share + index
        with guarded(tirx.all(part < target.threads, row < rows)):
            emit(row)


def for_vectors(size: int, widest: int, emit: Callable[[int, Expr], None]) -> None:
    """Call ``emit(lanes, first)`` over ``size`` elements: the widest vectors in a loop, then one of each narrower."""
    count, first = divmod(size, widest)[0], size // widest * widest
    if count:
        with T.serial(count) as index:
            emit(widest, index * widest)
    lanes = widest
    while lanes > 1:
        lanes //= 2
        if size - first >= lanes:
            emit(lanes, i32(first))
            first += lanes


def wrapping(operation: str, a: Expr, b: Expr, lanes: int) -> Expr:
    """ "add", "sub" or "mul" of two vectors int32 modulo 2^32: where TVM's own may not overflow."""
    everywhere = spread(tirx.const(True, "bool"), lanes)
    return intrinsic(f"int32x{lanes}", f"vp.{operation}", a, b, everywhere, i32(lanes))


def add_pair_products(added: Expr, a: Expr, b: Expr, target: CpuTarget) -> Expr:
    """added + `pair_products` modulo 2^32, in one instruction where there is one."""
    if target.byte_instructions:
        return intrinsic("int32x16", "x86.avx512.vpdpwssd.512", added, a, b)
    return wrapping("add", added, pair_products(a, b, target), target.lanes)


def round_halves(x: Expr, factor: Expr, target: CpuTarget) -> Expr:
    """(x * factor + 2^14) >> 15 of int16 lanes, which must fit; x86."""
    name = "x86.avx512.pmul.hr.sw.512" if target.vector_bits == 512 else "x86.avx2.pmul.hr.sw"
    return intrinsic(f"int16x{2 * target.lanes}", name, x, factor)


def pack_words(even: Expr, odd: Expr, target: CpuTarget) -> Expr:
    """Two registers of int32 as one of int16, saturated: four of each in turn; x86."""
    name = "x86.avx512.packssdw.512" if target.vector_bits == 512 else "x86.avx2.packssdw"
    return intrinsic(f"int16x{2 * target.lanes}", name, even, odd)


def pack_bytes(first: Expr, second: Expr, target: CpuTarget) -> Expr:
    """Two registers of int16 as one of int8, saturated: eight of each in turn; x86."""
    name = "x86.avx512.packsswb.512" if target.vector_bits == 512 else "x86.avx2.packsswb"
    return intrinsic(f"int8x{4 * target.lanes}", name, first, second)
