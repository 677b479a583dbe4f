"""Words of small integers that one dot product takes, and register tiles of such products.

A word is 32 bits: four bytes where the processor multiplies bytes, two int16 where it multiplies those, else one int32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, i32, local
from edgemtl.tvm_bridge.kernels.vectors import constant, intrinsic, load, pair_products, spread, store

BYTES_BIASED = -0x7F7F7F80  # 0x80808080: added to every byte without a carry, int8 becomes uint8


@dataclass(frozen=True)
class Words:
    """How small integers lie in words on a target; ``group`` of them in each.

    Bytes are multiplied unsigned by signed: one side is biased by 128, or holds no negative values.
    """

    target: CpuTarget

    @property
    def group(self) -> int:
        """Products that one lane of a dot product sums."""
        if self.target.byte_instructions:
            return 4
        return 1 if self.target.vector_bits == 128 else 2

    @property
    def bias(self) -> int:
        """What `biased` adds to every value."""
        return 128 if self.group == 4 else 0

    def count(self, values: int) -> int:
        """Words that hold ``values`` values."""
        return -(-values // self.group)

    def pack(self, values: Expr, words: int) -> Expr:
        """A vector int8 as ``words`` words."""
        if self.group == 4:
            return tirx.reinterpret(f"int32x{words}", values)
        if self.group == 2:
            return tirx.reinterpret(f"int32x{words}", values.astype(f"int16x{2 * words}"))
        return values.astype(f"int32x{words}")

    def biased(self, words: Expr, lanes: int) -> Expr:
        """Words for the unsigned side."""
        return words ^ constant(BYTES_BIASED, "int32", lanes) if self.group == 4 else words

    def interleave(self, rows: list[Expr], lanes: int) -> Expr:
        """Words of ``group`` vectors int8 (or fewer, the others zeros), one value of each in every word."""
        bits = 32 // self.group
        if self.group == 1:
            return rows[0].astype(f"int32x{lanes}")
        word = constant(0, "int32", lanes)
        for place, row in enumerate(rows):
            part = row.astype(f"int32x{lanes}")
            if place < self.group - 1:
                part = part & constant((1 << bits) - 1, "int32", lanes)
            word = word | part << constant(bits * place, "int32", lanes)
        return word

    def dot(self, total: Expr, unsigned: Expr, signed: Expr) -> Expr:
        """total + the products of the values in two vectors of words."""
        lanes = self.target.lanes
        if self.group == 4:
            a, b = (tirx.reinterpret("int8x64", side) for side in (unsigned, signed))
            return intrinsic("int32x16", "x86.avx512.vpdpbusd.512", total, a, b)
        if self.group == 2:
            a, b = (tirx.reinterpret(f"int16x{2 * lanes}", side) for side in (unsigned, signed))
            return total + pair_products(a, b, self.target)
        return total + unsigned * signed


def dot_tile(
    words: Words,
    size: tuple[int, int],
    depth: int,
    row_word: Callable[[int, Expr], Expr],
    vector: Callable[[Expr, int], Expr],
    start: Callable[[int], Expr],
    rows_unsigned: bool,
) -> list[list[Buffer]]:
    """Accumulators int32 [row][vector] = start(row) + sum over k < depth of row_word(row, k) . vector(k, index).

    ``size``: rows and vectors. ``rows_unsigned`` says which side is the unsigned one.
    """
    rows, vectors = size
    lanes = words.target.lanes
    sums = [[local(lanes, "int32") for _ in range(vectors)] for _ in range(rows)]
    for row in range(rows):
        first = T.bind(spread(start(row), lanes))
        for total in sums[row]:
            store(total, (i32(0),), lanes, first)
    with T.serial(depth) as k:
        columns = [T.bind(vector(k, index)) for index in range(vectors)]
        for row in range(rows):
            word = T.bind(spread(row_word(row, k), lanes))
            for total, column in zip(sums[row], columns, strict=True):
                unsigned, signed = (word, column) if rows_unsigned else (column, word)
                store(total, (i32(0),), lanes, words.dot(load(total, (i32(0),), lanes), unsigned, signed))
    return sums
