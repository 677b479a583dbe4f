"""Matrix product with bias, activation and residual: register tiles over packed column panels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    activate,
    define,
    guarded,
    panels,
    parallel,
    register_tile,
    store_row,
    tile_rows,
)
from edgemtl.tvm_bridge.specs import LinearSpec
from edgemtl.tvm_bridge.target import CpuTarget


def padded_width(n: int, target: CpuTarget) -> int:
    """Columns of the packed weights: n rounded up to whole vectors."""
    return sum(width for width, _ in panels(n, target))


def pack_panels(weight: np.ndarray, target: CpuTarget) -> np.ndarray:
    """W [k, n] as the kernels read it: flat, panel after panel, each [k, width], zeros in columns that do not exist."""
    k, n = weight.shape
    padded = np.zeros((k, padded_width(n, target)), np.float32)
    padded[:, :n] = weight
    widths = [width for width, _ in panels(n, target)]
    return np.concatenate([part.ravel() for part in np.split(padded, np.cumsum(widths)[:-1], axis=1)])


def pack_bias(bias: np.ndarray, target: CpuTarget) -> np.ndarray:
    """b [n] padded with zeros to whole vectors."""
    padded = np.zeros(padded_width(bias.size, target), np.float32)
    padded[: bias.size] = bias
    return padded


def pack(
    spec: LinearSpec, target: CpuTarget, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """W [k, n] and b [n] as the kernel's two weight operands."""
    return pack_panels(weight, target), pack_bias(bias, target)


@cache
def build(spec: LinearSpec, target: CpuTarget) -> Kernel:
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

    return define(symbol, operands, body, spec.rows * spec.k * spec.n)


def _emit(
    spec: LinearSpec,
    target: CpuTarget,
    x: Buffer,
    weight: Buffer,
    bias: Buffer,
    residual: Buffer | None,
    y: Buffer,
) -> None:
    """Items of work: a panel and one of ``threads`` shares of the rows; each output is computed in one place."""
    cut = panels(spec.n, target)
    columns = np.cumsum([0, *(width for width, _ in cut)]).tolist()
    shares = min(target.threads, max(1, spec.rows // tile_rows(cut[0][0], target)))

    def tile(panel: Expr | int, width: int, valid: int, column: Expr | int) -> Callable[[int, Expr], None]:
        def emit(rows: int, first: Expr) -> None:
            sums = register_tile(
                rows,
                width,
                spec.k,
                lambda row, k: x[first + row, k],
                lambda k: lambda lane: weight[column * spec.k + k * width + lane],
                lambda row: lambda lane: bias[column + lane],
            )
            for row in range(rows):
                activate(sums[row], width, spec.activation)
                store_row(
                    y,
                    valid,
                    width,
                    lambda lane, row=row: (
                        sums[row][lane]  # type: ignore[misc]
                        if residual is None
                        else sums[row][lane] + residual[first + row, column + lane]
                    ),
                    lambda lane, row=row: (first + row, column + lane),  # type: ignore[misc]
                )

        return emit

    wide = sum(1 for width, valid in cut if width == valid == cut[0][0])
    with parallel(len(cut) * shares) as item:
        panel, share = item // shares, item % shares
        if wide:
            with guarded(panel < wide):
                width = cut[0][0]
                row_tiles(
                    spec.rows,
                    tile_rows(width, target),
                    share,
                    shares,
                    tile(panel, width, width, panel * width),
                )
        for index in range(wide, len(cut)):
            width, valid = cut[index]
            with guarded(panel == index):
                row_tiles(
                    spec.rows,
                    tile_rows(width, target),
                    share,
                    shares,
                    tile(index, width, valid, columns[index]),
                )


def row_tiles(rows: int, tall: int, share: Expr, shares: int, emit: Callable[[int, Expr], None]) -> None:
    """Call ``emit(rows of a tile, first row)`` for this share's tiles; the last share takes the rows left over."""
    tiles, rest = divmod(rows, tall)
    if tiles:
        first = share * tiles // shares
        with T.serial((share + 1) * tiles // shares - first) as index:
            emit(tall, (first + index) * tall)
    if rest:
        with guarded(share == shares - 1):
            emit(rest, tiles * tall + share * 0)
