"""One linear layer of all experts over their own tokens, expert by expert, with bounds read from the router."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from tvm import tirx
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
from edgemtl.tvm_bridge.kernels.linear import pack_bias, pack_panels
from edgemtl.tvm_bridge.specs import ExpertSpec
from edgemtl.tvm_bridge.target import CpuTarget


def pack_expert(spec: ExpertSpec, target: CpuTarget, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One expert's tensor: W [k, n] in panels, then its bias padded to whole vectors; flat float32."""
    return np.concatenate([pack_panels(weight, target), pack_bias(bias, target)])


@cache
def build(spec: ExpertSpec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, tokens, offsets, table, weights (the whole section), y.

    ``table`` [slots] holds the element offset of each expert's tensor in the weights section.
    """
    rows = spec.tokens * spec.top_k
    operands = [
        Operand("x", (spec.tokens if spec.gather else rows, spec.k), "float32", "input"),
        Operand("tokens", (rows,), "int32", "input"),
        Operand("offsets", (spec.slots + 1,), "int32", "input"),
        Operand("table", (spec.slots,), "int32", "weight"),
        Operand("weights", (0,), "float32", "weights_space"),
        Operand("y", (rows, spec.n), "float32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        _emit(spec, target, *buffers)

    symbol = f"experts_{spec.tokens}x{spec.top_k}_{spec.slots}x{spec.k}x{spec.n}"
    symbol += f"{'_' + spec.activation if spec.activation else ''}{'_gather' if spec.gather else ''}"
    return define(symbol, operands, body, rows * spec.k * spec.n)


def _emit(
    spec: ExpertSpec,
    target: CpuTarget,
    x: Buffer,
    tokens: Buffer,
    offsets: Buffer,
    table: Buffer,
    weights: Buffer,
    y: Buffer,
) -> None:
    """Parts split the columns of every expert, so both threads are busy however popular one expert is."""
    cut = panels(spec.n, target)
    columns = np.cumsum([0, *(width for width, _ in cut)]).tolist()
    wide = sum(1 for width, valid in cut if width == valid == cut[0][0])

    def panel_code(width: int, valid: int, column: Expr | int, expert: Expr) -> None:
        base = table[expert] + column * spec.k
        bias = table[expert] + columns[-1] * spec.k + column
        first, tall = offsets[expert], tile_rows(width, target)

        def tile(height: int, at: Expr) -> None:
            sums = register_tile(
                height,
                width,
                spec.k,
                lambda row, k: x[tokens[at + row] if spec.gather else at + row, k],
                lambda k: lambda lane: weights[base + k * width + lane],
                lambda row: lambda lane: weights[bias + lane],
            )
            for row in range(height):
                activate(sums[row], width, spec.activation)
                store_row(
                    y,
                    valid,
                    width,
                    lambda lane, row=row: sums[row][lane],  # type: ignore[misc]
                    lambda lane, row=row: (at + row, column + lane),  # type: ignore[misc]
                )

        dynamic_tiles(offsets[expert + 1] - first, tall, first, tile)

    # An odd number of panels is shared unevenly; halves of rows would split the expert's weights twice over.
    with parallel(len(cut)) as panel:
        with T.serial(spec.slots) as expert:
            if wide:
                with guarded(panel < wide):
                    panel_code(cut[0][0], cut[0][0], panel * cut[0][0], expert)
            for index in range(wide, len(cut)):
                with guarded(panel == index):
                    panel_code(*cut[index], columns[index], expert)


def dynamic_tiles(count: Expr, tall: int, first: Expr, emit: Callable[[int, Expr], None]) -> None:
    """Tiles of ``tall`` rows over ``count`` rows known at run time, then one tile of exactly the rows left."""
    whole = tirx.floordiv(count, tall)
    with T.serial(whole) as index:
        emit(tall, first + index * tall)
    for rest in range(1, tall):
        with guarded(tirx.floormod(count, tall) == rest):
            emit(rest, first + whole * tall)
