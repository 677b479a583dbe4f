"""One linear layer of bytes of all experts over their own tokens, with bounds read from the router."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QExperts
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.coded_weights import Layout, Workspace, pack_any, panel_words
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    guarded,
    i32,
    local,
    parallel,
    slots_of,
    tensor_place,
    tile_rows,
    within,
)
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
from edgemtl.tvm_bridge.kernels.tiles import RowShare, dynamic_tiles, padded_width, split_panels


def pack_expert(spec: QExperts, target: CpuTarget, *weight: np.ndarray) -> np.ndarray:
    """One expert's tensor, W int8 [k, n] or its codes and multipliers in panels: tasks share it whatever their scales
    are.
    """
    return pack_any(spec.k, multiplying(target, spec.wide), *weight)


def pack_params(
    spec: QExperts,
    target: CpuTarget,
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
) -> np.ndarray:
    """Biases and float32 scales of all experts, int32 [slots, 2, padded n]; biases depend on the weights."""
    rows = [
        (pack_bias(weight, bias, multiplying(target, spec.wide)), pack_scale(scale, target).view(np.int32))
        for weight, bias, scale in zip(weights, biases, scales, strict=True)
    ]
    return np.array(rows, np.int32)


@cache
def build(spec: QExperts, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, tokens, offsets, table, weights (the whole section), words (its size),
    params[, lookup][, expanded], y.

    ``table`` [slots] holds the offset of each expert's tensor in the weights section, in words of four bytes.
    """
    rows, factors = spec.tokens * spec.top_k, multiplying(target, spec.wide)
    coded = Layout(spec.k, spec.n, factors) if spec.coded else None
    operands = [
        Operand("x", (spec.tokens if spec.gather else rows, spec.k), "int16" if spec.wide else "int8", "input"),
        Operand("tokens", (rows,), "int32", "input"),
        Operand("offsets", (spec.slots + 1,), "int32", "input"),
        Operand("table", (spec.slots,), "int32", "weight"),
        Operand("weights", (0,), "int32", "weights_space"),
        Operand("words", (), "int32", "weights_words"),
        Operand("params", (spec.slots, 2, padded_width(spec.n, target)), "int32", "weight"),
        *([lookup_operand(spec.how)] if spec.table else []),
        *([coded.workspace()] if coded else []),
        Operand("y", (rows, spec.n), spec.how.dtype, "output"),
    ]

    def body(*buffers: Buffer) -> None:
        lookup = buffers[7] if spec.table else None
        output = OutputStage(target, spec.how, buffers[-1], lookup)
        _emit(spec, factors, output, buffers[-2] if coded else None, *buffers[:7])

    symbol = f"qexperts_{spec.tokens}x{spec.top_k}_{spec.slots}x{spec.k}x{spec.n}"
    symbol += f"_{spec.how.dtype}_{spec.how.zero}_{spec.how.low}"
    symbol += f"{'_table' if spec.table else ''}{'_gather' if spec.gather else ''}"
    symbol += f"{'_wide' if spec.wide else ''}{'_to_wide' if spec.how.wide else ''}{'_coded' if coded else ''}"
    return define(symbol, operands, body)


def _opaque(value: Expr) -> Expr:
    """A number TVM does not look into: simplifying a share of some tiles, times their height, it leaves int32."""
    cell = local(1, "int32")
    T.buffer_store(cell, value, [0])
    return cell[0]


def _emit(
    spec: QExperts,
    target: CpuTarget,
    output: OutputStage,
    expanded: Buffer | None,
    x: Buffer,
    tokens: Buffer,
    offsets: Buffer,
    table: Buffer,
    weights: Buffer,
    words: Expr,
    params: Buffer,
) -> None:
    """Parts split the columns of every expert, so all are busy however popular one expert is.

    expanded: where weights in 4 bits are expanded.
    """
    size = packed_words(spec.k, spec.n, target) if expanded is None else Layout(spec.k, spec.n, target).words

    def panel(place: tuple[Expr, Expr], width: int, valid: int, column: Expr, share: RowShare) -> None:
        part, expert = place
        start, end = slots_of(offsets, expert, spec.tokens * spec.top_k)
        with guarded(end > start):
            tiles(part, expert, (start, end), (width, valid, column, share))

    def tiles(part: Expr, expert: Expr, slots: tuple[Expr, Expr], cut: tuple[int, int, Expr, RowShare]) -> None:
        (start, end), (width, valid, column, share) = slots, cut
        tensor = tensor_place(table, expert, words, size)
        workspace = None if expanded is None else Workspace(expanded, part)
        packed = panel_words(
            (spec.k, spec.n), target, lambda at, count: weights[span(tensor + at, count)], (column, width), workspace
        )

        def tile(rows: int, first: Expr) -> None:
            sums = start_sums(rows, width, target, lambda at: lambda lane: params[expert, 0, column + at + lane])
            place = _opaque(start + first)
            sources = [place + row for row in range(rows)]
            if spec.gather:
                sources = [T.bind(within(tokens[at], i32(0), i32(spec.tokens - 1))) for at in sources]
            accumulate(
                sums,
                spec.k,
                target,
                lambda row, at, count: x[sources[row], span(at, count)],
                packed,
            )
            output.store(
                sums,
                valid,
                lambda at: tirx.reinterpret(
                    f"float32x{target.lanes}", params[expert, 1, span(column + at, target.lanes)]
                ),
                lambda row, at: (place + row, column + at),
            )

        dynamic_tiles(end - start, tile_rows(width, target), share, tile)

    with parallel(target.threads) as part, guarded(part < target.threads):
        with T.serial(spec.slots) as expert:
            split_panels(spec.n, target, part, partial(panel, (part, expert)))
