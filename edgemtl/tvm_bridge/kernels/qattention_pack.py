"""How Q, K and V of a head lie in an integer attention's workspaces.

Queries, keys, weights and values are multiplied as `Words`: a word of Q or K holds neighbouring dimensions of a token,
one of the weights or V the same dimension of neighbouring tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QAttention
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, i32, local, panel_width, panels, pieces
from edgemtl.tvm_bridge.kernels.exponent import exponent_lanes
from edgemtl.tvm_bridge.kernels.int8_tiles import multiplying
from edgemtl.tvm_bridge.kernels.vectors import constant, load, load_some, store, total
from edgemtl.tvm_bridge.kernels.words import Words

# Scores, a panel of K and a row of V share a first-level cache of 32 KiB.
SCORE_BYTES = 28 * 1024
SCORE_ROWS, MOST_ROWS = 6, 12


@dataclass(frozen=True)
class AttentionSizes:
    """What follows from the sizes of an attention on a target."""

    spec: QAttention
    target: CpuTarget

    @property
    def words(self) -> Words:
        """How the target multiplies."""
        return Words(self.target)

    @property
    def mixing(self) -> Words:
        """How the target multiplies weights and values."""
        return Words(multiplying(self.target, self.spec.wide))

    @property
    def key_columns(self) -> int:
        """Tokens in whole vectors of scores."""
        return -(-self.spec.tokens // self.target.lanes) * self.target.lanes

    @property
    def score_columns(self) -> int:
        """Tokens in whole vectors of weights."""
        lanes = exponent_lanes(self.target)
        return -(-self.spec.tokens // lanes) * lanes

    @property
    def key_words(self) -> int:
        """Words of a token of Q or K."""
        return self.words.count(self.spec.head_dim)

    @property
    def value_words(self) -> int:
        """Words of a dimension of V."""
        return self.mixing.count(self.spec.tokens)

    @property
    def value_columns(self) -> int:
        """Dimensions in whole vectors."""
        return sum(width for width, _ in panels(self.spec.head_dim, self.target))

    @property
    def block_rows(self) -> int:
        """Rows whose scores are kept at once: what the product with V keeps in registers, less where they are long."""
        vectors = panels(self.spec.head_dim, self.target)[0][0] // self.target.lanes
        most = min(MOST_ROWS, self.target.vector_registers * 3 // 4 // vectors)
        return most if 2 * most * self.score_columns <= SCORE_BYTES else SCORE_ROWS


@dataclass(frozen=True)
class AttentionBuffers(AttentionSizes):
    """An attention while it is emitted."""

    qkv: Buffer
    table: Buffer
    queries: Buffer
    keys: Buffer
    values: Buffer
    scores: Buffer
    y: Buffer


def _head_words(a: AttentionBuffers, token: Expr, column: Expr, first: int, count: int) -> Expr:
    """Words ``first`` .. ``first + count`` of the values of one head that begin at ``column``; zeros behind them."""
    group = a.words.group
    values, valid = count * group, min(count * group, a.spec.head_dim - first * group)
    return a.words.pack(load_some(a.qkv, (token, column + first * group), valid, values), count)


def _chunks(a: AttentionBuffers) -> list[tuple[int, int]]:
    """(first, count) of the words of a head in vectors of powers of two."""
    whole, rest = divmod(a.key_words, a.target.lanes)
    wide = [(index * a.target.lanes, a.target.lanes) for index in range(whole)]
    return wide + [(whole * a.target.lanes + first, count) for first, count in pieces(rest)]


def pack_keys(a: AttentionBuffers, part: Expr, head: Expr) -> None:
    """keys[part] = K transposed, panel after panel of tokens, each [words, width]."""
    lanes, widest = a.target.lanes, panel_width(a.target)
    column = (a.spec.heads + head) * a.spec.head_dim

    def block(base: Expr, width: int, token: Expr, valid: int) -> None:
        for first, count in _chunks(a):
            rows = [
                T.bind(a.words.biased(_head_words(a, token + row, column, first, count), count)) for row in range(valid)
            ]
            padded = rows + [constant(0, "int32", count)] * (lanes - valid)
            _transpose(a, part, padded, count, base + first * width, width)

    def panel(start: Expr, width: int, valid: int) -> None:
        if valid // lanes:
            with T.serial(valid // lanes) as index:
                block(start * a.key_words + index * lanes, width, start + index * lanes, lanes)
        if valid % lanes:
            whole = valid // lanes * lanes
            block(start * a.key_words + whole, width, start + whole, valid % lanes)

    each_panel(a, widest, panel, part * 0)


def each_panel(a: AttentionBuffers, widest: int, panel: Callable[[Expr, int, int], None], zero: Expr) -> None:
    """Call ``panel(first token, width, tokens that exist)`` for all panels of keys."""
    count = a.spec.tokens // widest
    if count:
        with T.serial(count) as index:
            panel(index * widest, widest, widest)
    start = count * widest
    for width, valid in panels(a.spec.tokens - start, a.target):
        panel(zero + start, width, valid)
        start += width


def _transpose(a: AttentionBuffers, part: Expr, rows: list[Expr], count: int, base: Expr, width: int) -> None:
    """keys[part, base + word * width + row] = rows[row][word]."""
    lanes = a.target.lanes
    tile = local(lanes * count, "int32")
    for row, value in enumerate(rows):
        store(tile, (i32(row * count),), count, value)
    for word in range(count):
        column = tile.vload([T.Ramp(i32(word), count, lanes)])
        store(a.keys, (part, base + word * width), lanes, column)


def pack_values(a: AttentionBuffers, part: Expr, head: Expr) -> None:
    """values[part] = V, panel after panel of dimensions, each [words, width]; what does not exist is not written."""
    group, tokens = a.mixing.group, a.spec.tokens
    column = (2 * a.spec.heads + head) * a.spec.head_dim

    def word(index: Expr, count: int) -> None:
        start = 0
        for width, valid in panels(a.spec.head_dim, a.target):
            for first, lanes in _vectors(valid, a.target.lanes):
                rows = [load(a.qkv, (index * group + row, column + start + first), lanes) for row in range(count)]
                place = start * a.value_words + index * width + first
                store(a.values, (part, place), lanes, a.mixing.interleave(rows, lanes))
            start += width

    if tokens // group:
        with T.serial(tokens // group) as index:
            word(index, group)
    if tokens % group:
        word(part * 0 + tokens // group, tokens % group)


def _vectors(count: int, lanes: int) -> list[tuple[int, int]]:
    """(first, lanes) of whole registers that cover ``count`` lanes, the rest by powers of two."""
    whole = [(first, lanes) for first in range(0, count // lanes * lanes, lanes)]
    return whole + [(count // lanes * lanes + first, narrow) for first, narrow in pieces(count % lanes)]


def pack_query(a: AttentionBuffers, part: Expr, head: Expr, token: Expr, row: Expr, starts: Buffer) -> None:
    """queries[part, row] = Q of a token, and in starts what its scores begin with: half a step less K's bias."""
    half, bias = i32(1 << a.spec.score_shift - 1), local(1, "int32")
    T.buffer_store(bias, half, [0])
    for first, count in _chunks(a):
        words = T.bind(_head_words(a, token, head * a.spec.head_dim, first, count))
        store(a.queries, (part, row, i32(first)), count, words)
        if a.words.bias:
            summed = total(tirx.reinterpret(f"int8x{4 * count}", words).astype(f"int32x{4 * count}"), "int32")
            T.buffer_store(bias, bias[0] - summed * i32(a.words.bias), [0])
    T.buffer_store(starts, bias[0], [row])
