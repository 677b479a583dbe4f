"""Products of signed bytes in exact int32: how weights are packed, and a register tile of sums.

A lane adds ``group`` products at once. VNNI takes four, but of an unsigned by a signed byte: activations become
unsigned by an added 128, and the bias is packed with 128 times the sum of its column's weights taken off, in int32
that wraps and comes back. AVX2 and AVX-512 take two, widened to int16 (their product of bytes saturates). Others
take one. Wide activations are int16 in memory and are multiplied in pairs everywhere: `multiplying`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import unpack_scale
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, Lane, fill, for_columns, i32, local, panels
from edgemtl.tvm_bridge.kernels.tiles import padded_width

Array = npt.NDArray[np.integer[Any]]
# Values of an activation row as a vector: the row of the tile, the first value, how many.
Bytes = Callable[[int, Expr, int], Expr]
# Packed weights as a vector of int32 words: the first word, how many.
Words = Callable[[Expr, int], Expr]
# Sums of a tile: for each row one vector register after the other.
Sums = list[list[Buffer]]

WORD = 4
# Bytes of a row that are widened at a time.
CHUNK = 256
UNSIGNED = 128
SIGN = 2**31
# The sum of two products of int16 for each lane of a vector of so many bits: AVX-512's and AVX2's.
PRODUCTS_OF_PAIRS = {512: "llvm.x86.avx512.pmaddw.d.512", 256: "llvm.x86.avx2.pmadd.wd"}
FLIP = -0x7F7F7F80  # the highest bit of all four bytes of a word


def multiplying(target: CpuTarget, wide: bool) -> CpuTarget:
    """The target whose instructions multiply activations: for wide ones, of 16 bits, those of pairs."""
    return replace(target, byte_instructions=False) if wide else target


def has_biased_sums(target: CpuTarget) -> bool:
    """Whether sums start 2^31 too large, so that they are unsigned: `int8_finish` makes doubles of them so."""
    return target.vector_bits == 512


def span(first: Expr, count: int) -> Expr:
    """The index of ``count`` elements from ``first`` on."""
    return tirx.Ramp(first, i32(1), count) if count > 1 else first


def group(target: CpuTarget) -> int:
    """Products that one lane adds in one step."""
    if target.byte_instructions:
        return 4
    return 2 if target.vector_bits in PRODUCTS_OF_PAIRS else 1


def steps(k: int, target: CpuTarget) -> int:
    """Steps that k products take."""
    return -(-k // group(target))


def first_word(k: int, column: Expr, target: CpuTarget) -> Expr:
    """Where the panel that starts at ``column`` begins in a packed weight of k rows, in words."""
    return column * (steps(k, target) * group(target)) // WORD


def packed_words(k: int, n: int, target: CpuTarget) -> int:
    """int32 words of a packed weight [k, n]."""
    return steps(k, target) * group(target) * padded_width(n, target) // WORD


def pack_weight(weight: Array, target: CpuTarget) -> npt.NDArray[np.int32]:
    """W int8 [k, n] as int32 words: panel after panel, each [steps, width, group] bytes, zeros where there is none."""
    k, n = weight.shape
    each, count = group(target), steps(k, target)
    padded = np.zeros((count * each, padded_width(n, target)), np.int8)
    padded[:k, :n] = weight
    cuts = np.cumsum([width for width, _ in panels(n, target)])[:-1]
    parts = np.split(padded.reshape(count, each, -1).transpose(0, 2, 1), cuts, axis=1)
    return np.concatenate([part.ravel() for part in parts]).view(np.int32)


def pack_bias(weight: Array, bias: Array, target: CpuTarget) -> npt.NDArray[np.int32]:
    """b int32 [n] of W [k, n] as the sums start with it, padded to whole vectors."""
    start = bias.astype(np.int64)
    if target.byte_instructions:
        start = start - UNSIGNED * weight.astype(np.int64).sum(0)
    if has_biased_sums(target):
        start = start + SIGN
    padded = np.zeros(padded_width(bias.size, target), np.int32)
    padded[: bias.size] = (start & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return padded


def pack_scale(scale: Array, target: CpuTarget) -> npt.NDArray[np.float32]:
    """Scale words [n] as mul * 2^-shift, exact in float32 since mul has at most 20 bits; padded to whole vectors."""
    mul, shift = unpack_scale(scale)
    padded = np.zeros(padded_width(scale.size, target), np.float32)
    padded[: scale.size] = np.ldexp(mul.astype(np.float64), -shift)
    return padded


def start_sums(rows: int, width: int, target: CpuTarget, start: Callable[[int], Lane]) -> Sums:
    """Accumulators of a tile; ``start(first)`` gives the lanes of the register that begins at column ``first``."""
    lanes = target.lanes
    sums = [[local(lanes, "int32") for _ in range(width // lanes)] for _ in range(rows)]
    for row in sums:
        for place, total in enumerate(row):
            fill(total, lanes, start(place * lanes))
    return sums


def factor_type(target: CpuTarget) -> str:
    """The type that `accumulate_factors` takes values of x in."""
    return "int16" if group(target) == 2 else "int8"


def accumulate(sums: Sums, k: int, target: CpuTarget, x: Bytes, w: Words) -> None:
    """Add k products to every sum: bytes of x from 0 on times packed weights from word 0 on."""
    if group(target) == 2:
        _accumulate_widened(sums, k, target, x, w)
    else:
        accumulate_factors(sums, k, target, x, w)


def accumulate_factors(sums: Sums, k: int, target: CpuTarget, x: Bytes, w: Words) -> None:
    """The same of values that have their `factor_type`."""
    whole, rest = divmod(k, group(target))
    if whole:
        with T.serial(whole) as step:
            _step(sums, step, target, x, w)
    if rest:
        _step(sums, i32(whole), target, lambda row, first, count: _short(x, row, first, rest, count), w)


def _short(x: Bytes, row: int, first: Expr, valid: int, count: int) -> Expr:
    """A vector of which only ``valid`` bytes exist in memory: the others meet weights of zero."""
    values = [x(row, first + index, 1) for index in range(valid)]
    return tirx.Shuffle(values + [tirx.const(0, "int8")] * (count - valid), list(range(count)))


def _accumulate_widened(sums: Sums, k: int, target: CpuTarget, x: Bytes, w: Words) -> None:
    """The same from copies of x in int16: pairs are then read into all lanes by loads alone."""
    copies = [local(CHUNK, "int16") for _ in sums]

    def chunk(begin: Expr, count: int) -> None:
        for row, copy in enumerate(copies):
            _widen(copy, count, target, lambda at, size, row=row: x(row, begin + at, size))  # type: ignore[misc]
        word = begin * (len(sums[0]) * target.lanes // WORD)
        with T.serial(steps(count, target)) as step:
            _step(
                sums,
                step,
                target,
                lambda row, at, size: copies[row][span(at, size)],
                lambda at, size: w(word + at, size),
            )

    if k // CHUNK:
        with T.serial(k // CHUNK) as index:
            chunk(index * CHUNK, CHUNK)
    if k % CHUNK:
        chunk(i32(k // CHUNK * CHUNK), k % CHUNK)


def _widen(copy: Buffer, count: int, target: CpuTarget, x: Callable[[Expr, int], Expr]) -> None:
    """``count`` bytes in int16, and a zero behind them where they are odd."""

    def piece(width: int, first: Expr) -> None:
        T.buffer_store(copy, x(first, width).astype(f"int16x{width}" if width > 1 else "int16"), [span(first, width)])

    for_columns(count, target, piece)
    if count % 2:
        T.buffer_store(copy, tirx.const(0, "int16"), [count])


def _step(sums: Sums, step: Expr, target: CpuTarget, x: Bytes, w: Words) -> None:
    each, lanes = group(target), target.lanes
    words, vectors = lanes * each // WORD, len(sums[0])
    weights = [T.bind(_weights(w((step * vectors + place) * words, words), target)) for place in range(vectors)]
    for row, totals in enumerate(sums):
        values = T.bind(_activations(x(row, step * each, each), target))
        for total, weight in zip(totals, weights, strict=True):
            everywhere = span(i32(0), lanes)
            T.buffer_store(total, _multiply_add(total[everywhere], values, weight, target), [everywhere])


def _weights(words: Expr, target: CpuTarget) -> Expr:
    """Packed weights as the instruction takes them."""
    packed = tirx.reinterpret(f"int8x{target.lanes * group(target)}", words)
    return packed if target.byte_instructions else tirx.Cast(_factors(target), packed)


def _activations(values: Expr, target: CpuTarget) -> Expr:
    """The same ``group`` values of a row in every lane, as the instruction takes them."""
    if group(target) == 1:
        return tirx.Cast(_factors(target), tirx.Broadcast(values, target.lanes))
    word = tirx.reinterpret("int32", values)
    spread = tirx.Broadcast(word ^ i32(FLIP) if target.byte_instructions else word, target.lanes)
    return tirx.reinterpret(_factors(target), spread)


def _factors(target: CpuTarget) -> str:
    """A vector register of factors."""
    return f"int{32 // group(target)}x{target.lanes * group(target)}"


def _multiply_add(total: Expr, values: Expr, weights: Expr, target: CpuTarget) -> Expr:
    dtype = f"int32x{target.lanes}"
    if target.byte_instructions:
        return T.call_llvm_pure_intrin(dtype, "llvm.x86.avx512.vpdpbusd.512", total, values, weights)
    if group(target) == 2:
        return total + T.call_llvm_pure_intrin(dtype, PRODUCTS_OF_PAIRS[target.vector_bits], values, weights)
    return total + values * weights
