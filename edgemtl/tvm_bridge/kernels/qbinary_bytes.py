"""A register of bytes plus or times another on x86: products of pairs of int16, requantised in 32 bits, saturated.

What saturates to 16 bits before the zero point is added saturates to a byte behind it all the same.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QAdd, QMultiply
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Expr
from edgemtl.tvm_bridge.kernels.vectors import constant, intrinsic, pack_bytes, pack_words, pair_products


def takes_bytes(spec: QAdd | QMultiply, target: CpuTarget) -> bool:
    """Whether both operands and the result are bytes, and the target has registers of 256 bits or more."""
    kinds = (*spec.signature.inputs.values(), *spec.signature.constants.values())
    return target.vector_bits >= 256 and spec.how.dtype == "int8" and all(kind.dtype == "int8" for kind in kinds)


def joined_bytes(spec: QAdd | QMultiply, a: Expr, b: Expr, target: CpuTarget) -> Expr:
    """The sum or product of two registers of bytes in units of the result."""
    lanes = target.lanes
    sums = _weighted(spec, a, b, target) if isinstance(spec, QAdd) else _products(spec, a, b, target)
    added = spec.offset if isinstance(spec, QAdd) else 0
    half, shift = constant(added + (1 << spec.shift - 1), "int32", lanes), constant(spec.shift, "int32", lanes)
    scaled = [T.bind((total + half) >> shift) for total in sums]
    zero = constant(spec.how.zero, "int16", 2 * lanes)
    words = [
        T.bind(intrinsic(f"int16x{2 * lanes}", "sadd.sat", pack_words(scaled[first], scaled[first + 1], target), zero))
        for first in (0, 2)
    ]
    levels = tirx.Shuffle([pack_bytes(words[0], words[1], target)], _places(spec, lanes))
    return tirx.max(levels, constant(spec.how.low, "int8", 4 * lanes))


def _weighted(spec: QAdd, a: Expr, b: Expr, target: CpuTarget) -> list[Expr]:
    """a * mul + b * mul, as four registers of int32 in their order."""
    size = 4 * target.lanes
    pairs = T.bind(tirx.Shuffle([a, b], [place for at in range(size) for place in (at, size + at)]))
    muls = tirx.reinterpret(
        f"int16x{2 * target.lanes}",
        constant((spec.muls[0] & 0xFFFF) | (spec.muls[1] << 16), "int32", target.lanes),
    )
    quarters = [list(range(first, first + 2 * target.lanes)) for first in range(0, 2 * size, 2 * target.lanes)]
    wide = [tirx.Shuffle([pairs], quarter).astype(f"int16x{2 * target.lanes}") for quarter in quarters]
    return [pair_products(values, muls, target) for values in wide]


def _products(spec: QMultiply, a: Expr, b: Expr, target: CpuTarget) -> list[Expr]:
    """(a - zero) * (b - zero) * mul, as four registers of int32: of each half the lower halves of its blocks first."""
    lanes, sums = 2 * target.lanes, []
    name = "x86.avx512.pmulh.w.512" if target.vector_bits == 512 else "x86.avx2.pmulh.w"
    for first in (0, lanes):
        half = list(range(first, first + lanes))
        x, y = (
            T.bind(tirx.Shuffle([value], half).astype(f"int16x{lanes}") - constant(zero, "int16", lanes))
            for value, zero in zip((a, b), spec.zeros, strict=True)
        )
        low = intrinsic(f"int16x{lanes}", "vp.mul", x, y, constant(1, "bool", lanes), tirx.const(lanes, "int32"))
        high = intrinsic(f"int16x{lanes}", name, x, y)
        for part in (0, 4):
            at = [8 * block + part + index for block in range(lanes // 8) for index in range(4)]
            words = tirx.Shuffle([low, high], [place for index in at for place in (index, lanes + index)])
            product = tirx.reinterpret(f"int32x{target.lanes}", words)
            sums.append(product * constant(spec.mul, "int32", target.lanes))
    return sums


def _places(spec: QAdd | QMultiply, lanes: int) -> list[int]:
    """Where each byte of the result lies among those packed: registers of words, then of bytes, block by block."""
    size = 4 * lanes
    if isinstance(spec, QAdd):
        registers = np.arange(size).reshape(4, lanes // 4, 4)
    else:
        # Both registers of a half have four of every eight.
        registers = np.arange(size).reshape(2, lanes // 4, 2, 4).transpose(0, 2, 1, 3).reshape(4, lanes // 4, 4)
    return [int(place) for place in np.argsort(registers.transpose(1, 0, 2).ravel())]
