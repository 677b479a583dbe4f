"""One linear layer of all experts over their own tokens, expert by expert, with bounds read from the router."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Experts
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    guarded,
    i32,
    parallel,
    register_tile,
    slots_of,
    tensor_place,
    tile_rows,
    within,
)
from edgemtl.tvm_bridge.kernels.tiles import (
    RowShare,
    dynamic_tiles,
    pack_bias,
    pack_panels,
    padded_width,
    split_panels,
    store_tile,
)


def pack_expert(spec: Experts, target: CpuTarget, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One expert's tensor: W [k, n] in panels, then its bias padded to whole vectors; flat float32."""
    return np.concatenate([pack_panels(weight, target), pack_bias(bias, target)])


@cache
def build(spec: Experts, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, tokens, offsets, table, weights (the whole section), words (its size), y.

    ``table`` [slots] holds the element offset of each expert's tensor in the weights section.
    """
    rows = spec.tokens * spec.top_k
    operands = [
        Operand("x", (spec.tokens if spec.gather else rows, spec.k), "float32", "input"),
        Operand("tokens", (rows,), "int32", "input"),
        Operand("offsets", (spec.slots + 1,), "int32", "input"),
        Operand("table", (spec.slots,), "int32", "weight"),
        Operand("weights", (0,), "float32", "weights_space"),
        Operand("words", (), "int32", "weights_words"),
        Operand("y", (rows, spec.n), "float32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        _emit(spec, target, *buffers)

    symbol = f"experts_{spec.tokens}x{spec.top_k}_{spec.slots}x{spec.k}x{spec.n}"
    symbol += f"{'_' + spec.activation if spec.activation else ''}{'_gather' if spec.gather else ''}"
    return define(symbol, operands, body)


def _emit(
    spec: Experts,
    target: CpuTarget,
    x: Buffer,
    tokens: Buffer,
    offsets: Buffer,
    table: Buffer,
    weights: Buffer,
    words: Expr,
    y: Buffer,
) -> None:
    """Parts split the columns of every expert, so all are busy however popular one expert is."""
    bias_start = padded_width(spec.n, target) * spec.k

    def panel(expert: Expr, width: int, valid: int, column: Expr, share: RowShare) -> None:
        tensor = tensor_place(table, expert, words, bias_start + padded_width(spec.n, target))
        base, bias = tensor + column * spec.k, tensor + bias_start + column
        start, end = slots_of(offsets, expert, spec.tokens * spec.top_k)

        def tile(rows: int, first: Expr) -> None:
            places = [start + first + row for row in range(rows)]
            if spec.gather:
                places = [T.bind(within(tokens[place], i32(0), i32(spec.tokens - 1))) for place in places]
            sums = register_tile(
                rows,
                width,
                spec.k,
                lambda row, k: x[places[row], k],
                lambda k: lambda lane: weights[base + k * width + lane],
                lambda row: lambda lane: weights[bias + lane],
            )
            store_tile(y, sums, (width, valid), spec.activation, lambda r, lane: (start + first + r, column + lane))

        dynamic_tiles(end - start, tile_rows(width, target), share, tile)

    with parallel(target.threads) as part, guarded(part < target.threads):
        with T.serial(spec.slots) as expert:
            split_panels(spec.n, target, part, partial(panel, expert))
