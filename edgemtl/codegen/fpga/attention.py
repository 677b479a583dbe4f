"""Attention as instructions: keys of all tokens, then values, then queries in blocks, software-pipelined.

A unit of work is a block of queries and the heads computed at once. While the softmax unit works on the scores of one
unit, the matrix unit computes the queries of the next and mixes the values of the one before, so that it never waits
for a softmax that has just started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.attention_result import AttentionResult, Projection, Unit, open_result
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.heads import head_sets, heads_together, padded, padded_qkv, score_stride
from edgemtl.codegen.fpga.instructions import At, RowRange
from edgemtl.codegen.fpga.layers import Weights, apply, fits_ring, linear_layer
from edgemtl.codegen.fpga.rows import bounded, one_ahead, spilled_rows
from edgemtl.codegen.fpga.site import RowSource, Site
from edgemtl.errors import BudgetError
from edgemtl.hw.regions import ROW_STATES
from edgemtl.operators import Array, QAttention
from edgemtl.schedule.tiling import END_ROWS, blocks


@dataclass(frozen=True)
class AttentionWork:
    """State of some heads of an attention while their instructions are written.

    operator: their sizes. first_head: how many of ``heads`` come before. qkv: constants of the projection, columns in
    the order of `columns_by_chain`. keys, values, scores, queries, mixed: buffers that units use in turn. stride:
    granules of a row of scores. blocks: rows of the block of queries that is worked on, by its index.
    """

    site: Site
    group: networks.AttentionGroup
    operator: QAttention
    first_head: int
    heads: int
    qkv: Mapping[str, Array]
    together: int
    x: RowSource
    keys: tuple[OnChipTensor, ...]
    values: tuple[OnChipTensor, ...]
    scores: tuple[At, ...]
    queries: tuple[OnChipTensor, ...]
    mixed: tuple[OnChipTensor, ...]
    stride: int
    blocks: dict[int, OnChipTensor] = field(default_factory=dict)

    def columns(self, part: int, head: int, heads: int) -> slice:
        """Columns of some heads of q (part 0), k (1) or v (2)."""
        first = (part * self.heads + self.first_head + head) * self.operator.head_dim
        return slice(first, first + heads * self.operator.head_dim)


def emit_attention(site: Site, group: networks.AttentionGroup) -> None:
    """All instructions of an attention, set of heads by set, including the output projection where there is one."""
    engine, attention = site.listing.engine, padded(site.listing.engine, group.attention.operator)
    qkv = padded_qkv(engine, group)
    result = open_result(site, group)
    for first, heads in head_sets(engine, group.attention.operator):
        part = replace(attention, heads=heads)
        units = _units(site, group, part)
        work = _prepare(site, group, part, first, qkv, max(unit.rows for unit in units))
        _project(work)
        _attend(work, units, result.projection(first, heads), result)


def _units(site: Site, group: networks.AttentionGroup, attention: QAttention) -> list[Unit]:
    engine = site.listing.engine
    together = heads_together(engine, attention)
    groups = attention.heads // together
    row_bytes = score_stride(engine, attention) * together * engine.array_columns
    if row_bytes > site.limits.scores:
        raise BudgetError(
            "scores of one query", row_bytes, site.limits.scores, "take larger score buffers, memory 'scores0'"
        )
    query = 2 * sum(emit.granules(site.listing, heads * attention.head_dim) for heads in (together, attention.heads))
    queries = max(site.limits.queries // (query * engine.array_columns), 1)
    scores = min(site.limits.scores // row_bytes, ROW_STATES // together)
    most = min(scores, queries, site.limits.accumulator_rows)
    most = min(most, spilled_rows(site, group.qkv["x"]) or most)
    parts = query_blocks(attention.tokens, most)
    return [
        Unit(block * groups + g, block, first, rows, g, g == groups - 1, block == len(parts) - 1)
        for block, (first, rows) in enumerate(parts)
        for g in range(groups)
    ]


def query_blocks(tokens: int, most: int) -> list[tuple[int, int]]:
    """(first, rows) of blocks of at most ``most`` queries, the last one small where the others stay larger.

    Nothing hides the softmax of the last units, nor the LayerNorm of the rows that come last.
    """
    rest = tokens - END_ROWS
    if min(rest, most) <= END_ROWS:
        return blocks(tokens, most)
    return [*blocks(rest, most), (rest, END_ROWS)]


def _prepare(
    site: Site,
    group: networks.AttentionGroup,
    attention: QAttention,
    first_head: int,
    qkv: Mapping[str, Array],
    rows: int,
) -> AttentionWork:
    listing, engine = site.listing, site.listing.engine
    together = heads_together(engine, attention)
    groups, width = attention.heads // together, together * attention.head_dim
    stride, key = score_stride(engine, attention), emit.granules(listing, width)
    keys = At(listing.buffer("keys", "hidden", attention.tokens * groups * key))
    tiles = emit.granules(listing, attention.head_dim)
    # A tile of values is contiguous, so that it loads at the memory's full width.
    values = make_tensor(listing, "values", "hidden", attention.heads * tiles * attention.tokens, engine.array_columns)
    size = rows * together * stride
    return AttentionWork(
        site=site,
        group=group,
        operator=attention,
        first_head=first_head,
        heads=group.attention.operator.heads,
        qkv=qkv,
        together=together,
        x=site.rows(group.qkv["x"]),
        keys=tuple(OnChipTensor(keys.on(g * key), attention.tokens, width, 1, groups * key) for g in range(groups)),
        values=tuple(
            values.part(h * tiles * attention.tokens, tiles * attention.tokens) for h in range(attention.heads)
        ),
        scores=tuple(At(listing.buffer("scores", f"scores{copy}", size)) for copy in range(2)),
        queries=tuple(make_tensor(listing, "queries", "queries", rows, width) for _ in range(2)),
        mixed=tuple(
            make_tensor(listing, "mixed", "queries", rows, attention.heads * attention.head_dim) for _ in range(2)
        ),
        stride=stride,
    )


@dataclass(frozen=True)
class Projected:
    """Keys or values of some heads: their weights, where they go, and ``tile``, granules between tiles of columns
    where they are not contiguous."""

    weights: Weights
    target: OnChipTensor
    tile: int | None


def _project(work: AttentionWork) -> None:
    """Keys and values of all tokens, block by block, so that each block hides the LayerNorm of the next.

    All keys come first where the weights of both do not stay in the ring together, or where values would lie where sums
    of experts are until the last rows are settled.
    """
    site, qkv, tokens = work.site, work.qkv, work.operator.tokens
    keys = [
        Projected(linear_layer(site, qkv, work.columns(1, g * work.together, work.together)), target, None)
        for g, target in enumerate(work.keys)
    ]
    values = [
        Projected(linear_layer(site, qkv, work.columns(2, h, 1)), target, tokens)
        for h, target in enumerate(work.values)
    ]
    x, target = work.group.qkv["x"], work.keys[0]
    rows = tokens * (emit.granules(site.listing, x.shape[-1] * 2) + 2 * target.stride)
    free = rows * site.listing.engine.array_columns <= site.limits.hidden
    if free and fits_ring(site, *(part.weights for part in (*keys, *values))):
        _project_blocks(work, [*keys, *values])
    else:
        _project_blocks(work, keys)
        _project_blocks(work, values)


def _project_blocks(work: AttentionWork, projected: Sequence[Projected]) -> None:
    site, tokens = work.site, work.operator.tokens
    q = site.listing.engine.array_columns
    resident = fits_ring(site, *(part.weights for part in projected))
    parts = site.limits.token_blocks(tokens) if resident else blocks(tokens, site.limits.accumulator_rows)
    parts = bounded(parts, tokens, spilled_rows(site, work.group.qkv["x"]))
    for index, ((first, _), x) in enumerate(one_ahead(parts, lambda part: work.x.part(*part))):
        for part in projected:
            for piece, ring in part.weights.uses(resident, index == len(parts) - 1):
                at = part.target.at.on(first * part.target.stride + piece.start // q * (part.tile or 1))
                y = OnChipTensor(at, x.rows, piece.stop - piece.start, 1, part.target.stride)
                how, coded = work.group.qkv.operator.how, part.weights.coded
                emit.linear(site.listing, x, y, ring, how, False, tile=part.tile, coded=coded)


def _attend(work: AttentionWork, units: Sequence[Unit], out: Projection, result: AttentionResult) -> None:
    """The pipeline over units; queries are computed one unit ahead, so that scores need not wait for them."""
    site = work.site
    first = [work.columns(0, g * work.together, work.together) for g in range(len(work.keys))]
    queries = [linear_layer(site, work.qkv, part) for part in first]
    resident = fits_ring(site, *queries, *out.weights)
    for unit in (*units, None):
        if unit is not None and unit.index == 0:
            _query(work, unit, queries, resident)
        if unit is not None:
            _score(work, unit)
            if unit.index + 1 < len(units):
                _query(work, units[unit.index + 1], queries, resident)
        before = units[-1] if unit is None else units[unit.index - 1] if unit.index else None
        if before is not None:
            _mix(work, before)
            if before.last:
                result.finish(before, work.mixed[before.block % 2].part(0, before.rows), out, resident)
        if unit is not None:
            _soften(work, unit)


def _query(work: AttentionWork, unit: Unit, queries: Sequence[Weights], resident: bool) -> None:
    y = work.queries[unit.index % 2].part(0, unit.rows)
    if unit.block not in work.blocks:
        work.blocks.clear()
        work.blocks[unit.block] = work.x.part(unit.first, unit.rows)
    x = work.blocks[unit.block]
    apply(work.site, queries[unit.group], x, y, work.group.qkv.operator, (resident, unit.final or not resident))


def _score(work: AttentionWork, unit: Unit) -> None:
    q, keys = work.queries[unit.index % 2].part(0, unit.rows), work.keys[unit.group]
    scores, rows = work.scores[unit.index % 2], unit.rows * work.together
    work.site.listing.append(
        "SCORES",
        {"src": q.at, "keys": keys.at, "dst": scores},
        (emit.rows_of(q), emit.rows_of(keys, q.stride)),
        (RowRange(scores, rows, work.stride, work.stride),),
        operands=dict(
            src_stride=q.stride,
            rows=unit.rows,
            k=q.width,
            heads=work.together,
            keys_stride=keys.stride,
            count=work.operator.tokens,
            dst_stride=work.stride,
            shift=work.operator.score_shift,
        ),
    )


def _soften(work: AttentionWork, unit: Unit) -> None:
    scores, rows = work.scores[unit.index % 2], unit.rows * work.together
    touched = (RowRange(scores, rows, work.stride, work.stride),)
    operands = {"stride": work.stride, "rows": rows, "count": work.operator.tokens}
    work.site.listing.append("SOFTMAX", {"src": scores}, touched, touched, operands=operands)


def _mix(work: AttentionWork, unit: Unit) -> None:
    """Multiply the softmax weights of a unit by the values, head by head."""
    listing, attention = work.site.listing, work.operator
    y, q = work.mixed[unit.block % 2].part(0, unit.rows), listing.engine.array_columns
    for head in range(work.together):
        index = unit.group * work.together + head
        src = work.scores[unit.index % 2].on(head * work.stride)
        values, dst = work.values[index], y.at.on(index * attention.head_dim // q)
        row = work.together * work.stride
        listing.append(
            "MIX",
            {"src": src, "values": values.at, "dst": dst},
            (RowRange(src, unit.rows, row, emit.granules(listing, attention.tokens)), emit.rows_of(values)),
            (RowRange(dst, unit.rows, y.stride, emit.granules(listing, attention.head_dim)),),
            operands=dict(
                src_stride=row,
                heads=work.together,
                head=head,
                rows=unit.rows,
                values_stride=values.stride,
                values_tile=attention.tokens,
                count=attention.tokens,
                n=attention.head_dim,
                dst_stride=y.stride,
                mul=attention.mul,
                shift=attention.shift,
            ),
        )
