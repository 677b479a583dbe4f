"""Attention as words: keys and values of all tokens first, then queries block by block, one unit of work behind.

A unit is a block of queries and the heads computed at once. While the softmax unit works on one unit's scores, the
matrix unit makes the next one's and then mixes the values of the last: it never waits for a softmax just begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import Tensor, make_tensor
from edgemtl.codegen.fpga.layers import Weights, apply, fits_ring, linear_layer
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.words import At, Rows
from edgemtl.hw.law import Finish
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Array
from edgemtl.schedule.tiling import BLOCK_ROWS, blocks
from edgemtl.tvm_bridge.specs_int8 import QAttentionSpec

FEWEST_UNITS = 6
"""Units of a small attention: the softmax of the last one, which nothing hides, is then short."""
LEAST_ROWS = 64
"""Queries of a block that need not be smaller for that: weights of a tile load in less time than so many rows take."""


@dataclass(frozen=True)
class Unit:
    """One block of queries of one group of heads: its scores' buffer and whether it ends the block."""

    index: int
    block: int
    first: int
    rows: int
    group: int


@dataclass
class Attending:
    """One attention while it is written."""

    site: Site
    spec: QAttentionSpec
    x: Tensor
    together: int
    keys: list[Tensor]
    values: list[Tensor]
    queries: list[Weights]
    out: Weights

    @property
    def groups(self) -> int:
        """Groups of heads."""
        return self.spec.heads // self.together


def heads_together(engine: Engine, spec: QAttentionSpec) -> int:
    """Heads that the parts of the array's rows compute at once: where a part is just a head's channels."""
    fitting = (n for n in (3, 2) if spec.heads % n == 0 and n * spec.head_dim == engine.array_rows)
    return next(fitting, 1)


def emit_attention(site: Site, group: networks.Attention) -> None:
    """All words of an attention, the layer behind it and its residual included."""
    qkv, spec, out = group.qkv, group.attention.spec, group.out
    x, stream = site.tensor(qkv.inputs[0]), site.tensor(out.inputs[1])
    site.settle_all(stream)
    work = _prepare(site, spec, x, qkv.arrays, out.arrays)
    _keys_and_values(work, qkv.arrays, qkv.spec.how)
    _queries(work, stream, group)
    site.homes[out.output.buffer] = stream


def _prepare(site: Site, spec: QAttentionSpec, x: Tensor, qkv: tuple[Array, ...], out: tuple[Array, ...]) -> Attending:
    listing, engine = site.listing, site.listing.engine
    together = heads_together(engine, spec)
    width, groups = together * spec.head_dim, spec.heads // together
    tiles = -(-spec.head_dim // engine.array_columns)
    # A tile of values is then one piece of memory, and those of all heads one buffer without gaps.
    columns_of_values = make_tensor(listing, "values", "hidden", spec.heads * tiles * spec.tokens, engine.array_columns)
    values = [columns_of_values.part(head * tiles * spec.tokens, tiles * spec.tokens) for head in range(spec.heads)]
    all_keys = make_tensor(listing, "keys", "hidden", groups * spec.tokens, width)
    keys = [all_keys.part(index * spec.tokens, spec.tokens) for index in range(groups)]
    columns = [_columns(spec, 0, g * together, together) for g in range(groups)]
    queries = [linear_layer(site, qkv, part) for part in columns]
    return Attending(site, spec, x, together, keys, values, queries, linear_layer(site, out))


def _columns(spec: QAttentionSpec, part: int, head: int, heads: int) -> slice:
    """Columns of some heads of q (part 0), k (1) or v (2)."""
    first = (part * spec.heads + head) * spec.head_dim
    return slice(first, first + heads * spec.head_dim)


def _keys_and_values(work: Attending, qkv: tuple[Array, ...], how: Finish) -> None:
    site, spec, listing = work.site, work.spec, work.site.listing
    made = [
        *((k, _columns(spec, 1, g * work.together, work.together), None) for g, k in enumerate(work.keys)),
        *((v, _columns(spec, 2, h, 1), spec.tokens) for h, v in enumerate(work.values)),
    ]
    weights = [linear_layer(site, qkv, columns) for _, columns, _ in made]
    held = fits_ring(site, *weights)
    parts = blocks(spec.tokens, BLOCK_ROWS if held else site.limits.accumulator_rows)
    for i, (first, rows) in enumerate(parts):
        for (target, columns, tile), part in zip(made, weights, strict=True):
            rows_made = target.part(first, rows)
            y = Tensor(rows_made.at, rows, columns.stop - columns.start, 1, rows_made.stride)
            for piece, ring in part.uses(held, i == len(parts) - 1):
                at = y.at.on(piece.start // listing.engine.array_columns * (tile or 1))
                sub = Tensor(at, rows, piece.stop - piece.start, 1, y.stride)
                emit.linear(listing, work.x.part(first, rows), sub, ring, how, False, tile=tile)


def _score_stride(work: Attending) -> int:
    return 2 * emit.granules(work.site.listing, work.spec.tokens)


def _units(work: Attending) -> Iterator[Unit]:
    row_bytes = _score_stride(work) * work.together * work.site.listing.engine.array_columns
    several = max(-(-work.spec.tokens * work.groups // FEWEST_UNITS), LEAST_ROWS)
    most = min(work.site.limits.scores // row_bytes, work.site.limits.accumulator_rows, several)
    parts = blocks(work.spec.tokens, most)
    for block, (first, rows) in enumerate(parts):
        for group in range(work.groups):
            yield Unit(block * work.groups + group, block, first, rows, group)


def _queries(work: Attending, stream: Tensor, group: networks.Attention) -> None:
    units = [*_units(work)]
    scores, queries, mixed = _make_buffers(work, max(unit.rows for unit in units))
    held = fits_ring(work.site, *work.queries, work.out)
    final = units[-1].block
    for unit in units:
        _scores(work, unit, scores[unit.index % 2], queries[unit.index % 2], held, unit.block == final, group)
        if unit.index:
            _mix(work, units[unit.index - 1], scores, mixed, stream, held, final, group)
        _softmax(work, unit, scores[unit.index % 2])
    _mix(work, units[-1], scores, mixed, stream, held, final, group)


def _make_buffers(work: Attending, rows: int) -> tuple[list[At], list[Tensor], list[Tensor]]:
    listing, spec = work.site.listing, work.spec
    size = rows * work.together * _score_stride(work)
    scores = [At(listing.buffer("scores", f"scores{copy}", size)) for copy in range(2)]
    width = work.together * spec.head_dim
    queries = [make_tensor(listing, "queries", "queries", rows, width) for _ in range(2)]
    mixed = [make_tensor(listing, "mixed", "queries", rows, spec.heads * spec.head_dim) for _ in range(2)]
    return scores, queries, mixed


def _scores(
    work: Attending, unit: Unit, scores: At, q: Tensor, held: bool, last: bool, group: networks.Attention
) -> None:
    listing = work.site.listing
    x, keys = work.x.part(unit.first, unit.rows), work.keys[unit.group]
    y = q.part(0, unit.rows)
    apply(work.site, work.queries[unit.group], x, y, group.qkv.spec, (held, last))
    stride = _score_stride(work)
    listing.word(
        "SCORES",
        {"src": y.at, "keys": keys.at, "dst": scores},
        (emit.rows_of(y), emit.rows_of(keys)),
        (Rows(scores, unit.rows * work.together, stride, stride),),
        operands=dict(
            src_stride=y.stride,
            rows=unit.rows,
            k=y.width,
            heads=work.together,
            keys_stride=keys.stride,
            count=work.spec.tokens,
            dst_stride=stride,
            shift=work.spec.score_shift,
        ),
    )


def _softmax(work: Attending, unit: Unit, scores: At) -> None:
    stride, rows = _score_stride(work), unit.rows * work.together
    touched = Rows(scores, rows, stride, stride)
    work.site.listing.word(
        "SOFTMAX",
        {"src": scores},
        (touched,),
        (touched,),
        operands=dict(stride=stride, rows=rows, count=work.spec.tokens),
    )


def _mix(
    work: Attending,
    unit: Unit,
    scores: list[At],
    mixed: list[Tensor],
    stream: Tensor,
    held: bool,
    final: int,
    group: networks.Attention,
) -> None:
    """Values of a unit; behind the last unit of a block, the layer behind attention, onto the residual in place."""
    y = mixed[unit.block % 2].part(0, unit.rows)
    for head in range(work.together):
        _mix_head(work, unit, scores[unit.index % 2], y, head)
    if unit.group == work.groups - 1:
        spec, target = group.out.spec, stream.part(unit.first, unit.rows)
        for first, rows in blocks(unit.rows, BLOCK_ROWS):
            last = unit.block == final and first + rows == unit.rows
            ends = last if held else first + rows == unit.rows
            stays = (held or unit.rows > BLOCK_ROWS, ends)
            apply(work.site, work.out, y.part(first, rows), target.part(first, rows), spec, stays, add=True)


def _mix_head(work: Attending, unit: Unit, scores: At, y: Tensor, head: int) -> None:
    spec, listing = work.spec, work.site.listing
    stride, tokens, index = _score_stride(work), spec.tokens, unit.group * work.together + head
    values = work.values[index]
    src = scores.on(head * stride)
    width = emit.granules(listing, spec.head_dim)
    column = index * spec.head_dim // listing.engine.array_columns
    dst = y.at.on(column)
    listing.word(
        "MIX",
        {"src": src, "values": values.at, "dst": dst},
        (
            Rows(src, unit.rows, work.together * stride, emit.granules(listing, tokens)),
            emit.rows_of(values),
        ),
        (Rows(dst, unit.rows, y.stride, width),),
        operands=dict(
            src_stride=work.together * stride,
            heads=work.together,
            head=head,
            rows=unit.rows,
            values_stride=values.stride,
            values_tile=tokens,
            count=tokens,
            n=spec.head_dim,
            dst_stride=y.stride,
            mul=spec.mul,
            shift=spec.shift,
        ),
    )
