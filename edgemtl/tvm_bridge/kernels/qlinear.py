"""Matrix product of bytes with bias, requantisation, table and residual."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgemtl.operators import QLinear
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, parallel, tile_rows
from edgemtl.tvm_bridge.kernels.int8_finish import OutputStage, lookup_operand
from edgemtl.tvm_bridge.kernels.int8_tiles import (
    accumulate,
    first_word,
    multiplying,
    pack_bias,
    pack_scale,
    pack_weight,
    packed_words,
    span,
    start_sums,
)
from edgemtl.tvm_bridge.kernels.tiles import RowShare, padded_width, row_tiles, split_panels


def pack(
    spec: QLinear, target: CpuTarget, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, *table: np.ndarray
) -> tuple[np.ndarray, ...]:
    """W int8 [k, n], b int32 [n], scale words [n] and the table as the kernel's weight operands."""
    factors = multiplying(target, spec.wide)
    return pack_weight(weight, factors), pack_bias(weight, bias, factors), pack_scale(scale, target), *table


@cache
def build(spec: QLinear, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, scale[, lookup][, residual], y."""
    width, factors = padded_width(spec.n, target), multiplying(target, spec.wide)
    operands = [
        Operand("x", (spec.rows, spec.k), "int16" if spec.wide else "int8", "input"),
        Operand("weight", (packed_words(spec.k, spec.n, factors),), "int32", "weight"),
        Operand("bias", (width,), "int32", "weight"),
        Operand("scale", (width,), "float32", "weight"),
        *([lookup_operand(spec.how)] if spec.table else []),
        *([Operand("residual", (spec.rows, spec.n), "int16", "input")] if spec.residual else []),
        Operand("y", (spec.rows, spec.n), spec.how.dtype, "output"),
    ]
    symbol = f"qlinear_{spec.rows}x{spec.k}x{spec.n}_{spec.how.dtype}_{spec.how.zero}_{spec.how.low}"
    symbol += f"{'_table' if spec.table else ''}{'_residual' if spec.residual else ''}"
    symbol += f"{'_wide' if spec.wide else ''}{'_to_wide' if spec.how.wide else ''}"

    def body(x: Buffer, weight: Buffer, bias: Buffer, scale: Buffer, *rest: Buffer) -> None:
        lookup = rest[0] if spec.table else None
        residual = rest[-2] if spec.residual else None
        output = OutputStage(target, spec.how, rest[-1], lookup, residual)
        emit_product((spec.rows, spec.k, spec.n), factors, (x, weight, bias, scale), output)

    return define(symbol, operands, body)


def emit_product(
    size: tuple[int, int, int],
    target: CpuTarget,
    operands: tuple[Buffer, Buffer, Buffer, Buffer],
    output: OutputStage,
    leading: int = 0,
) -> None:
    """Rows of x times W, finished into ``output`` behind its ``leading`` rows.

    size: rows, k, n; target: `multiplying`; operands: x, weight, bias and scale as `build` has them.
    """
    (rows, k, n), (x, weight, bias, scale) = size, operands

    def panel(width: int, valid: int, column: Expr, share: RowShare) -> None:
        base = first_word(k, column, target)

        def tile(tall: int, first: Expr) -> None:
            sums = start_sums(tall, width, target, lambda at: lambda lane: bias[column + at + lane])
            accumulate(
                sums,
                k,
                target,
                lambda row, at, count: x[first + row, span(at, count)],
                lambda at, count: weight[span(base + at, count)],
            )
            output.store(
                sums,
                valid,
                lambda at: scale[span(column + at, target.lanes)],
                lambda row, at: (leading + first + row, column + at),
            )

        row_tiles(rows, tile_rows(width, target), share, tile)

    with parallel(target.threads) as part, guarded(part < target.threads):
        split_panels(n, target, part, panel)
