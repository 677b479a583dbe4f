"""Integer attention: scores of a few rows at a time against all keys, weights by table, product with V."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import INT16
from edgemtl.operators import QAttention
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    guarded,
    i32,
    local,
    panel_width,
    panels,
    parallel,
)
from edgemtl.tvm_bridge.kernels.exponent import Exponent, exponent_lanes, exponent_table
from edgemtl.tvm_bridge.kernels.qattention_pack import (
    SCORE_ROWS,
    AttentionBuffers,
    AttentionSizes,
    each_panel,
    pack_keys,
    pack_query,
    pack_values,
)
from edgemtl.tvm_bridge.kernels.vectors import (
    constant,
    i64,
    intrinsic,
    load,
    narrowed,
    power_of_two,
    reciprocal,
    requantised,
    saturate,
    scale_mantissa,
    spread,
    store,
    store_some,
    total,
)
from edgemtl.tvm_bridge.kernels.words import dot_tile

# Sums of 16 bits hold this many weights, of 8 or 12 bits.
MOST_ADDED, MOST_FINE_ADDED = 257, 16


def pack(spec: QAttention, target: CpuTarget) -> tuple[np.ndarray]:
    """The table of powers of two."""
    return (exponent_table(spec.wide),)


@cache
def build(spec: QAttention, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands qkv, exp2 (table), queries, keys, values, scores (workspaces per part), y."""
    sizes, width, threads = AttentionSizes(spec, target), spec.heads * spec.head_dim, target.threads
    operands = [
        Operand("qkv", (spec.tokens, 3 * width), "int8", "input"),
        Operand("exp2", exponent_table(spec.wide).shape, "int16", "weight"),
        Operand("queries", (threads, sizes.block_rows, sizes.key_words), "int32", "workspace"),
        Operand("keys", (threads, sizes.key_words * sizes.key_columns), "int32", "workspace"),
        Operand("values", (threads, sizes.value_words * sizes.value_columns), "int32", "workspace"),
        Operand("scores", (threads, sizes.block_rows, sizes.score_columns), "int16", "workspace"),
        Operand("y", (spec.tokens, width), "int16" if spec.wide else "int8", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        _emit(AttentionBuffers(spec, target, *buffers))

    symbol = f"qattention_{spec.tokens}x{spec.heads}x{spec.head_dim}_{spec.score_shift}_{spec.mul}_{spec.shift}"
    symbol += "_to_wide" if spec.wide else ""
    return define(symbol, operands, body)


def _emit(a: AttentionBuffers) -> None:
    """Each part takes ``heads`` consecutive (head, share of rows) pairs and packs K and V when a new head begins."""
    threads, heads = a.target.threads, a.spec.heads
    blocks, rest = divmod(a.spec.tokens, a.block_rows)
    with parallel(threads) as part, T.serial(heads) as index:
        with guarded(part < threads):
            head, share = (part * heads + index) // threads, (part * heads + index) % threads
            with guarded(tirx.any(share == 0, index == 0)):
                pack_keys(a, part, head)
                pack_values(a, part, head)
            if blocks:
                first = share * blocks // threads
                with T.serial((share + 1) * blocks // threads - first) as block:
                    _attend(a, part, head, (first + block) * a.block_rows, a.block_rows)
            if rest:
                with guarded(share == threads - 1):
                    _attend(a, part, head, blocks * a.block_rows + share * 0, rest)


def _attend(a: AttentionBuffers, part: Expr, head: Expr, first: Expr, rows: int) -> None:
    """Rows ``first`` .. ``first + rows`` of one head."""
    starts, factors = local(rows, "int32"), local(rows, "float64")
    with T.serial(rows) as row:
        pack_query(a, part, head, first + row, row, starts)
    for top in range(0, rows, SCORE_ROWS):
        _score(a, part, starts, top, min(SCORE_ROWS, rows - top))
    exponent = Exponent(a.table, a.target, a.spec.wide)
    with T.serial(rows) as row:
        T.buffer_store(factors, _weigh(a, part, row, exponent), [row])
    _mix(a, part, head, first, factors, rows)


def _score(a: AttentionBuffers, part: Expr, starts: Buffer, top: int, height: int) -> None:
    """scores[part, top ..] = Q K^T, shifted and saturated."""
    lanes = a.target.lanes

    def panel(start: Expr, width: int, valid: int) -> None:
        base = T.bind(start * a.key_words)
        sums = dot_tile(
            a.words,
            (height, width // lanes),
            a.key_words,
            lambda row, k: a.queries[part, top + row, k],
            lambda k, index: load(a.keys, (part, base + k * width + index * lanes), lanes),
            lambda row: starts[top + row],
            rows_unsigned=False,
        )
        for row in range(height):
            for index, summed in enumerate(sums[row]):
                shifted = load(summed, (i32(0),), lanes) >> constant(a.spec.score_shift, "int32", lanes)
                place = (part, i32(top + row), start + index * lanes)
                store(a.scores, place, lanes, saturate(shifted, "int16", lanes))

    each_panel(a, panel_width(a.target), panel, part * 0)


def _weigh(a: AttentionBuffers, part: Expr, row: Expr, exponent: Exponent) -> Expr:
    """Put weights in the place of scores[part, row]; the factor their products with V are to be multiplied by."""
    lanes, tokens = exponent.lanes, a.spec.tokens
    chunks, tail = divmod(tokens, lanes)
    peak = T.bind(_peak(a, part, row, lanes))
    weight_sum, added = local(1, "int32"), local(lanes, "int16")
    T.buffer_store(weight_sum, i32(0), [0])

    def weigh(first: Expr, valid: int) -> None:
        score = load(a.scores, (part, row, first), lanes)
        weights = T.bind(_masked(exponent(spread(peak, lanes) - score), valid, 0, lanes))
        _store_weights(a, (part, row), first, weights)
        store(added, (i32(0),), lanes, load(added, (i32(0),), lanes) + weights)

    most = MOST_FINE_ADDED if a.spec.wide else MOST_ADDED
    for begin in range(0, chunks + 1, most):
        store(added, (i32(0),), lanes, constant(0, "int16", lanes))
        count = min(most, chunks - begin)
        if count:
            with T.serial(count) as index:
                weigh((begin + index) * lanes, lanes)
        if begin + count == chunks and count < most and tail:
            weigh(row * 0 + chunks * lanes, tail)
        unsigned = tirx.reinterpret(f"uint16x{lanes}", load(added, (i32(0),), lanes))
        T.buffer_store(weight_sum, weight_sum[0] + total(unsigned.astype(f"int32x{lanes}"), "int32"), [0])
    mantissa, power = reciprocal(weight_sum[0].astype("int64"))
    scale = scale_mantissa(mantissa, a.spec.mul).astype("float64")
    return scale * power_of_two(i64(1 - a.spec.shift) - power)


def _peak(a: AttentionBuffers, part: Expr, row: Expr, lanes: int) -> Expr:
    """The largest of a row of scores."""
    largest, (chunks, tail) = local(lanes, "int16"), divmod(a.spec.tokens, lanes)
    store(largest, (i32(0),), lanes, constant(INT16[0], "int16", lanes))

    def compare(first: Expr, valid: int) -> None:
        score = _masked(load(a.scores, (part, row, first), lanes), valid, INT16[0], lanes)
        store(largest, (i32(0),), lanes, tirx.max(load(largest, (i32(0),), lanes), score))

    if chunks:
        with T.serial(chunks) as index:
            compare(index * lanes, lanes)
    if tail:
        compare(row * 0 + chunks * lanes, tail)
    return intrinsic("int16", "vector.reduce.smax", load(largest, (i32(0),), lanes))


def _masked(value: Expr, valid: int, other: int, lanes: int) -> Expr:
    """The first ``valid`` of the int16 lanes of ``value``, ``other`` in the rest."""
    if valid == lanes:
        return value
    inside = T.Ramp(i32(0), 1, lanes) < constant(valid, "int32", lanes)
    return tirx.Select(inside, value, constant(other, "int16", lanes))


def _store_weights(a: AttentionBuffers, place: tuple[Expr, Expr], first: Expr, weights: Expr) -> None:
    """Weights take the place of scores that are no longer needed, bytes half of it."""
    lanes = exponent_lanes(a.target)
    if a.mixing.group == 4:
        narrow = tirx.reinterpret(f"int16x{lanes // 2}", weights.astype(f"uint8x{lanes}"))
        store(a.scores, (*place, tirx.floordiv(first, 2)), lanes // 2, narrow)
    else:
        store(a.scores, (*place, first), lanes, weights)


def _weight_word(a: AttentionBuffers, part: Expr, row: int, k: Expr) -> Expr:
    if a.mixing.group == 1:
        return a.scores[part, row, k].astype("int32")
    return tirx.reinterpret("int32", load(a.scores, (part, i32(row), 2 * k), 2))


def _mix(a: AttentionBuffers, part: Expr, head: Expr, first: Expr, factors: Buffer, rows: int) -> None:
    """y = weights V, times each row's factor."""
    lanes, start = a.target.lanes, 0
    for width, valid in panels(a.spec.head_dim, a.target):
        sums = dot_tile(
            a.mixing,
            (rows, width // lanes),
            a.value_words,
            lambda row, k: _weight_word(a, part, row, k),
            lambda k, index, base=start * a.value_words, width=width: load(  # type: ignore[misc]
                a.values, (part, base + k * width + index * lanes), lanes
            ),
            lambda row: i32(0),
            rows_unsigned=True,
        )
        for row in range(rows):
            for index, summed in enumerate(sums[row]):
                scaled = requantised(load(summed, (i32(0),), lanes), spread(factors[row], lanes), lanes)
                place = (first + row, head * a.spec.head_dim + start + index * lanes)
                result = narrowed(scaled, a.spec.wide, lanes)
                store_some(a.y, place, min(lanes, valid - index * lanes), lanes, result)
        start += width
