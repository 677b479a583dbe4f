"""Matrix product of bytes with bias, requantisation, table and residual."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from edgemtl.operators import QLinear
from edgemtl.operators.linear import expanded, weight_of
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.coded_weights import Layout, Workspace, pack_any, panel_words
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, parallel, tile_rows
from edgemtl.tvm_bridge.kernels.int8_finish import OutputStage, lookup_operand
from edgemtl.tvm_bridge.kernels.int8_tiles import (
    accumulate,
    multiplying,
    pack_bias,
    pack_scale,
    packed_words,
    span,
    start_sums,
)
from edgemtl.tvm_bridge.kernels.tiles import RowShare, padded_width, row_tiles, split_panels


def pack(spec: QLinear, target: CpuTarget, *constants: np.ndarray) -> tuple[np.ndarray, ...]:
    """W int8 [k, n] or its codes and multipliers, b int32 [n], scale words [n] and the table as weight operands."""
    factors, count = multiplying(target, spec.wide), len(weight_of(spec.k, spec.n, spec.coded))
    weight, (bias, scale, *table) = constants[:count], constants[count:]
    start = pack_bias(expanded(spec.k, *weight), bias, factors)
    return pack_any(spec.k, factors, *weight), start, pack_scale(scale, target), *table


@cache
def build(spec: QLinear, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, scale[, lookup][, residual][, expanded], y."""
    width, factors = padded_width(spec.n, target), multiplying(target, spec.wide)
    coded = Layout(spec.k, spec.n, factors) if spec.coded else None
    operands = [
        Operand("x", (spec.rows, spec.k), "int16" if spec.wide else "int8", "input"),
        Operand("weight", (coded.words if coded else packed_words(spec.k, spec.n, factors),), "int32", "weight"),
        Operand("bias", (width,), "int32", "weight"),
        Operand("scale", (width,), "float32", "weight"),
        *([lookup_operand(spec.how)] if spec.table else []),
        *([Operand("residual", (spec.rows, spec.n), "int16", "input")] if spec.residual else []),
        *([coded.workspace()] if coded else []),
        Operand("y", (spec.rows, spec.n), spec.how.dtype, "output"),
    ]
    symbol = f"qlinear_{spec.rows}x{spec.k}x{spec.n}_{spec.how.dtype}_{spec.how.zero}_{spec.how.low}"
    symbol += f"{'_table' if spec.table else ''}{'_residual' if spec.residual else ''}"
    symbol += f"{'_wide' if spec.wide else ''}{'_to_wide' if spec.how.wide else ''}{'_coded' if coded else ''}"

    def body(x: Buffer, weight: Buffer, bias: Buffer, scale: Buffer, *rest: Buffer) -> None:
        names = [operand.name for operand in operands[4:]]
        more = dict(zip(names, rest, strict=True))
        output = OutputStage(target, spec.how, more["y"], more.get("lookup"), more.get("residual"))
        size = spec.rows, spec.k, spec.n
        emit_product(size, factors, (x, weight, bias, scale), output, expanded=more.get("expanded"))

    return define(symbol, operands, body)


def emit_product(
    size: tuple[int, int, int],
    target: CpuTarget,
    operands: tuple[Buffer, Buffer, Buffer, Buffer],
    output: OutputStage,
    leading: int = 0,
    expanded: Buffer | None = None,
) -> None:
    """Rows of x times W, finished into ``output`` behind its ``leading`` rows.

    size: rows, k, n; target: `multiplying`; operands: x, weight, bias and scale as `build` has them. expanded: where
    weights in 4 bits are expanded.
    """
    (rows, k, n), (x, weight, bias, scale) = size, operands

    def panel(part: Expr, width: int, valid: int, column: Expr, share: RowShare) -> None:
        workspace = None if expanded is None else Workspace(expanded, part)
        words = panel_words((k, n), target, lambda at, count: weight[span(at, count)], (column, width), workspace)

        def tile(tall: int, first: Expr) -> None:
            sums = start_sums(tall, width, target, lambda at: lambda lane: bias[column + at + lane])
            accumulate(
                sums,
                k,
                target,
                lambda row, at, count: x[first + row, span(at, count)],
                words,
            )
            output.store(
                sums,
                valid,
                lambda at: scale[span(column + at, target.lanes)],
                lambda row, at: (leading + first + row, column + at),
            )

        row_tiles(rows, tile_rows(width, target), share, tile)

    with parallel(target.threads) as part, guarded(part < target.threads):
        split_panels(n, target, part, partial(panel, part))
