"""Multi-head attention over packed Q, K, V: scores of a few rows at a time against all keys, softmax, product with V.

Whole score rows stay in the first-level cache at these lengths, which beats blocks of keys with rescaling.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Attention
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    exp2,
    f32,
    fill,
    guarded,
    local,
    panel_width,
    panels,
    parallel,
    reduce_lanes,
    register_tile,
    store_row,
    tile_rows,
    vector_store,
)

# Far below every score, and its exponential is exactly 2^-126 times anything: a padded key weighs nothing.
PADDED_SCORE = -1e30
TRANSPOSE_TOKENS = 8
# Scores, a column of K and a row of V share a first-level cache of 32 KiB.
SCORE_BYTES = 24 * 1024


class _Buffers(NamedTuple):
    qkv: Buffer
    keys: Buffer
    values: Buffer
    scores: Buffer
    y: Buffer


@cache
def build(spec: Attention, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands qkv, keys, values, scores (workspaces per part), y."""
    width = spec.heads * spec.head_dim
    columns, depth = _key_columns(spec, target), _value_columns(spec, target)
    operands = [
        Operand("qkv", (spec.tokens, 3 * width), "float32", "input"),
        Operand("keys", (target.threads, spec.head_dim, columns), "float32", "workspace"),
        Operand("values", (target.threads, spec.tokens, depth), "float32", "workspace"),
        Operand("scores", (target.threads, _block_rows(spec, target), columns), "float32", "workspace"),
        Operand("y", (spec.tokens, width), "float32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        _emit(spec, target, _Buffers(*buffers))

    symbol = f"attention_{spec.tokens}x{spec.heads}x{spec.head_dim}_{spec.scale:.9g}"
    return define(symbol, operands, body)


def _key_columns(spec: Attention, target: CpuTarget) -> int:
    return -(-spec.tokens // target.lanes) * target.lanes


def _value_columns(spec: Attention, target: CpuTarget) -> int:
    return sum(width for width, _ in panels(spec.head_dim, target))


def _block_rows(spec: Attention, target: CpuTarget) -> int:
    """Rows whose scores are kept at once: what the product with V keeps in registers, less where the cache is full."""
    most = tile_rows(panels(spec.head_dim, target)[0][0], target)
    least = tile_rows(panel_width(target), target)
    return min(most, max(least, SCORE_BYTES // (4 * _key_columns(spec, target))))


def _emit(spec: Attention, target: CpuTarget, b: _Buffers) -> None:
    """Each part takes ``heads`` consecutive (head, share of rows) pairs and packs K and V when a new head begins."""
    tall, threads = _block_rows(spec, target), target.threads
    blocks, rest = divmod(spec.tokens, tall)
    with parallel(threads) as part, T.serial(spec.heads) as index:
        with guarded(part < threads):
            head, share = (part * spec.heads + index) // threads, (part * spec.heads + index) % threads
            with guarded(tirx.any(share == 0, index == 0)):
                _pack_keys(spec, b, part, head)
                _pack_values(spec, target, b, part, head)
            if blocks:
                first = share * blocks // threads
                with T.serial((share + 1) * blocks // threads - first) as block:
                    _attend(spec, target, b, part, head, (first + block) * tall, tall)
            if rest:
                with guarded(share == threads - 1):
                    _attend(spec, target, b, part, head, blocks * tall + share * 0, rest)


def _pack_keys(spec: Attention, b: _Buffers, part: Expr, head: Expr) -> None:
    """keys[part] = K transposed, [head_dim, tokens], in blocks of 8 x 16 that fit in registers."""
    column, step, wide = spec.heads * spec.head_dim + head * spec.head_dim, TRANSPOSE_TOKENS, 16
    tokens, dims = spec.tokens // step * step, spec.head_dim // wide * wide
    with T.grid(tokens // step, dims // wide) as (t, d):
        block = local(step * wide)
        for row in range(step):
            vector_store(
                block,
                wide,
                lambda lane, row=row: b.qkv[t * step + row, column + d * wide + lane],  # type: ignore[misc]
                lambda lane, row=row: (row * wide + lane,),  # type: ignore[misc]
            )
        for dim in range(wide):
            vector_store(
                b.keys,
                step,
                lambda lane, dim=dim: block[lane * wide + dim],  # type: ignore[misc]
                lambda lane, dim=dim: (part, d * wide + dim, t * step + lane),  # type: ignore[misc]
            )
    for first_token, count, first_dim in ((tokens, spec.tokens - tokens, 0), (0, tokens, dims)):
        with T.grid(count, spec.head_dim - first_dim) as (t, d):
            value = b.qkv[first_token + t, column + first_dim + d]
            T.buffer_store(b.keys, value, [part, first_dim + d, first_token + t])


def _pack_values(spec: Attention, target: CpuTarget, b: _Buffers, part: Expr, head: Expr) -> None:
    """values[part] = V with rows side by side, padded to whole vectors with zeros."""
    column = 2 * spec.heads * spec.head_dim + head * spec.head_dim
    vectors, dim = _value_columns(spec, target) // target.lanes, spec.head_dim
    with T.serial(spec.tokens) as token:
        for index in range(vectors):
            lanes = min(target.lanes, dim - index * target.lanes)
            vector_store(
                b.values,
                lanes,
                lambda lane, i=index: b.qkv[token, column + i * target.lanes + lane],  # type: ignore[misc]
                lambda lane, i=index: (part, token, i * target.lanes + lane),  # type: ignore[misc]
            )
        with T.serial(vectors * target.lanes - dim) as lane:
            T.buffer_store(b.values, f32(0.0), [part, token, dim + lane])


def _attend(spec: Attention, target: CpuTarget, b: _Buffers, part: Expr, head: Expr, first: Expr, rows: int) -> None:
    """Rows ``first`` .. ``first + rows`` of one head."""
    _score(spec, target, b, part, head, first, rows)
    sums = local(rows)
    with T.serial(rows) as row:
        _exponentiate(spec, target, b, part, row, sums)
    column = 0
    for width, valid in panels(spec.head_dim, target):
        tile = register_tile(
            rows,
            width,
            spec.tokens,
            lambda row, k: b.scores[part, row, k],
            lambda k, column=column: lambda lane: b.values[part, k, column + lane],  # type: ignore[misc]
            lambda row: lambda lane: f32(0.0),
        )
        for row in range(rows):
            store_row(
                b.y,
                valid,
                width,
                lambda lane, row=row, tile=tile: tile[row][lane] * (f32(1.0) / sums[row]),  # type: ignore[misc]
                lambda lane, row=row, column=column: (first + row, head * spec.head_dim + column + lane),  # type: ignore[misc]
            )
        column += width


def _score(spec: Attention, target: CpuTarget, b: _Buffers, part: Expr, head: Expr, first: Expr, rows: int) -> None:
    """scores[part] = Q K^T, not yet scaled, in tiles as tall as the widest panel allows."""
    columns, widest = _key_columns(spec, target), panel_width(target)

    def tile(width: int, column: Expr, top: int, height: int) -> None:
        sums = register_tile(
            height,
            width,
            spec.head_dim,
            lambda row, k: b.qkv[first + top + row, head * spec.head_dim + k],
            lambda k: lambda lane: b.keys[part, k, column + lane],
            lambda row: lambda lane: f32(0.0),
        )
        for row in range(height):
            vector_store(
                b.scores,
                width,
                lambda lane, row=row: sums[row][lane],  # type: ignore[misc]
                lambda lane, row=row: (part, top + row, column + lane),  # type: ignore[misc]
            )

    short = tile_rows(widest, target)
    for top in range(0, rows, short):
        height = min(short, rows - top)
        if columns // widest:
            with T.serial(columns // widest) as panel:
                tile(widest, panel * widest, top, height)
        column = columns // widest * widest
        for width, _ in panels(columns - column, target):
            tile(width, column + part * 0, top, height)
            column += width


def _exponentiate(spec: Attention, target: CpuTarget, b: _Buffers, part: Expr, row: Expr, sums: Buffer) -> None:
    """scores[part, row] = exp(scale (score - largest)), and its sum in sums[row]; padded keys become nothing."""
    columns, lanes = _key_columns(spec, target), target.lanes
    factor = f32(spec.scale * math.log2(math.e))
    most, padded = (tirx.max, PADDED_SCORE) if spec.scale >= 0 else (tirx.min, -PADDED_SCORE)
    with T.serial(columns - spec.tokens) as pad:
        T.buffer_store(b.scores, f32(padded), [part, row, spec.tokens + pad])
    largest, peak = local(lanes), local(1)
    fill(largest, lanes, lambda lane: b.scores[part, row, lane])
    with T.serial(columns // lanes - 1) as c:
        fill(largest, lanes, lambda lane: most(largest[lane], b.scores[part, row, (c + 1) * lanes + lane]))
    T.buffer_store(peak, reduce_lanes([largest], lanes, most) * factor, [0])
    totals, chunks = ([local(lanes) for _ in range(2)] for _ in range(2))
    for total in totals:
        fill(total, lanes, lambda lane: f32(0.0))

    def exponentiate(index: int, first: Expr) -> None:
        total, chunk = totals[index], chunks[index]
        fill(chunk, lanes, lambda lane: b.scores[part, row, first + lane] * factor - peak[0])
        fill(chunk, lanes, lambda lane: exp2(tirx.max(chunk[lane], f32(-126.0))))
        vector_store(b.scores, lanes, lambda lane: chunk[lane], lambda lane: (part, row, first + lane))
        fill(total, lanes, lambda lane: total[lane] + chunk[lane])

    with T.serial(columns // (2 * lanes)) as c:
        exponentiate(0, c * 2 * lanes)
        exponentiate(1, c * 2 * lanes + lanes)
    if columns % (2 * lanes):
        exponentiate(0, columns - lanes + row * 0)
    T.buffer_store(sums, reduce_lanes(totals, lanes, lambda a, c: a + c), [row])
