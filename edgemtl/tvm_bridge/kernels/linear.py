"""Matrix product with bias, activation and residual: register tiles over packed column panels."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgemtl.operators import Linear
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, parallel, register_tile, tile_rows
from edgemtl.tvm_bridge.kernels.tiles import (
    RowShare,
    pack_bias,
    pack_panels,
    padded_width,
    row_tiles,
    split_panels,
    store_tile,
)


def pack(spec: Linear, target: CpuTarget, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W [k, n] and b [n] as the kernel's two weight operands."""
    return pack_panels(weight, target), pack_bias(bias, target)


@cache
def build(spec: Linear, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias[, residual], y."""
    width = padded_width(spec.n, target)
    operands = [
        Operand("x", (spec.rows, spec.k), "float32", "input"),
        Operand("weight", (spec.k * width,), "float32", "weight"),
        Operand("bias", (width,), "float32", "weight"),
        *([Operand("residual", (spec.rows, spec.n), "float32", "input")] if spec.residual else []),
        Operand("y", (spec.rows, spec.n), "float32", "output"),
    ]
    symbol = f"linear_{spec.rows}x{spec.k}x{spec.n}{'_' + spec.activation if spec.activation else ''}"
    symbol += "_residual" if spec.residual else ""

    def body(x: Buffer, weight: Buffer, bias: Buffer, *rest: Buffer) -> None:
        _emit(spec, target, x, weight, bias, rest[0] if spec.residual else None, rest[-1])

    return define(symbol, operands, body)


def _emit(
    spec: Linear,
    target: CpuTarget,
    x: Buffer,
    weight: Buffer,
    bias: Buffer,
    added: Buffer | None,
    y: Buffer,
) -> None:
    def panel(width: int, valid: int, column: Expr, share: RowShare) -> None:
        def tile(rows: int, first: Expr) -> None:
            sums = register_tile(
                rows,
                width,
                spec.k,
                lambda row, k: x[first + row, k],
                lambda k: lambda lane: weight[column * spec.k + k * width + lane],
                lambda row: lambda lane: bias[column + lane],
            )
            store_tile(y, sums, (width, valid), spec.activation, lambda r, lane: (first + r, column + lane), added)

        row_tiles(spec.rows, tile_rows(width, target), share, tile)

    with parallel(target.threads) as part, guarded(part < target.threads):
        split_panels(spec.n, target, part, panel)
