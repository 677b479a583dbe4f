"""Attention as instructions: keys of all tokens, then values, then queries in blocks, software-pipelined.

A unit of work is a block of queries and the heads computed at once. While the softmax unit works on the scores of one
unit, the matrix unit computes the queries of the next and mixes the values of the one before, so that it never waits
for a softmax that has just started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.instructions import At, RowRange
from edgemtl.codegen.fpga.layers import Weights, apply, fits_ring, linear_layer
from edgemtl.codegen.fpga.site import Site
from edgemtl.errors import BudgetError
from edgemtl.hw.geometry import (
    HEADS,
    SCORE_GRANULES,
    can_compute_heads,
    head_bytes,
    lanes_of,
    score_granules,
    score_rows_lie_apart,
)
from edgemtl.hw.regions import ROW_STATES
from edgemtl.hw.spec import Engine
from edgemtl.operators import Array, QAttention
from edgemtl.schedule.tiling import blocks

FEWEST_UNITS = 6
"""Least number of units of a small attention: nothing hides the softmax of the last unit, so units should be short."""
LEAST_ROWS = 64
"""Queries of a block below which `FEWEST_UNITS` splits no further: fewer rows take less time than a tile's weights
take to load."""


@dataclass(frozen=True)
class Unit:
    """One block of queries of one group of heads; ``last`` of the block, ``final`` where no block follows."""

    index: int
    block: int
    first: int
    rows: int
    group: int
    last: bool
    final: bool


@dataclass(frozen=True)
class AttentionWork:
    """State of one attention while its instructions are written: operands, and buffers that units use in turn.

    qkv: constants of the projection, columns in the order of `columns_by_chain`. stride: granules of a row of scores.
    """

    site: Site
    group: networks.AttentionGroup
    qkv: Mapping[str, Array]
    together: int
    x: OnChipTensor
    stream: OnChipTensor
    keys: tuple[OnChipTensor, ...]
    values: tuple[OnChipTensor, ...]
    scores: tuple[At, ...]
    queries: tuple[OnChipTensor, ...]
    mixed: tuple[OnChipTensor, ...]
    stride: int

    @property
    def operator(self) -> QAttention:
        """The attention's sizes."""
        return self.group.attention.operator

    def columns(self, part: int, head: int, heads: int) -> slice:
        """Columns of some heads of q (part 0), k (1) or v (2)."""
        first = (part * self.operator.heads + head) * self.operator.head_dim
        return slice(first, first + heads * self.operator.head_dim)


def heads_together(engine: Engine, attention: QAttention) -> int:
    """How many heads the array computes at once: several where their channels together fill its rows exactly."""
    filling = (n for n in HEADS if attention.heads % n == 0 and n * attention.head_dim == engine.array_rows)
    return next((n for n in filling if can_compute_heads(engine, n)), 1)


def columns_by_chain(engine: Engine, attention: QAttention) -> Array:
    """Columns of q, k and v in the order in which the array takes them, int64 [3 * heads * head_dim].

    Where several heads are computed at once, the channels of q and k lie on the chains of their heads, both alike.
    """
    together, width = heads_together(engine, attention), attention.heads * attention.head_dim
    columns = np.arange(3 * width)
    if together > 1:
        group = np.empty(engine.array_rows, np.int64)
        group[head_bytes(engine.array_rows, together).reshape(-1)] = np.arange(engine.array_rows)
        columns[: 2 * width] = (np.arange(0, 2 * width, engine.array_rows)[:, None] + group).reshape(-1)
    return columns


def emit_attention(site: Site, group: networks.AttentionGroup) -> None:
    """All instructions of an attention, including the output projection and its residual."""
    stream = site.tensor(group.out["residual"])
    site.settle_all(stream)
    units = _units(site, group)
    work = _prepare(site, group, stream, max(unit.rows for unit in units))
    _project(work, [work.columns(1, g * work.together, work.together) for g in range(len(work.keys))], work.keys, None)
    _project(work, [work.columns(2, h, 1) for h in range(work.operator.heads)], work.values, work.operator.tokens)
    _attend(work, units)
    site.homes[group.out["y"].buffer] = stream


def score_stride(engine: Engine, attention: QAttention) -> int:
    """Granules from one row of scores to the next, padded until rows written in one cycle lie in different lanes."""
    together, lanes = heads_together(engine, attention), lanes_of(engine, "scores0")
    stride = SCORE_GRANULES * -(-attention.tokens // engine.array_columns)
    while not score_rows_lie_apart(stride, together, lanes, score_granules(engine)):
        stride += SCORE_GRANULES
    return stride


def _units(site: Site, group: networks.AttentionGroup) -> list[Unit]:
    engine, attention = site.listing.engine, group.attention.operator
    together = heads_together(engine, attention)
    groups = attention.heads // together
    several = max(-(-attention.tokens * groups // FEWEST_UNITS), LEAST_ROWS)
    row_bytes = score_stride(engine, attention) * together * engine.array_columns
    most = min(site.limits.scores // row_bytes, site.limits.accumulator_rows, ROW_STATES // together, several)
    if most < 1:
        raise BudgetError(
            "scores of one query", row_bytes, site.limits.scores, "take larger score buffers, memory 'scores0'"
        )
    parts = blocks(attention.tokens, most)
    return [
        Unit(block * groups + g, block, first, rows, g, g == groups - 1, block == len(parts) - 1)
        for block, (first, rows) in enumerate(parts)
        for g in range(groups)
    ]


def _prepare(site: Site, group: networks.AttentionGroup, stream: OnChipTensor, rows: int) -> AttentionWork:
    listing, engine, attention = site.listing, site.listing.engine, group.attention.operator
    together = heads_together(engine, attention)
    groups, width = attention.heads // together, together * attention.head_dim
    stride, key = score_stride(engine, attention), emit.granules(listing, width)
    keys = At(listing.buffer("keys", "hidden", attention.tokens * groups * key))
    tiles = emit.granules(listing, attention.head_dim)
    # A tile of values is contiguous, so that it loads at the memory's full width.
    values = make_tensor(listing, "values", "hidden", attention.heads * tiles * attention.tokens, engine.array_columns)
    size, columns = rows * together * stride, columns_by_chain(engine, attention)
    return AttentionWork(
        site=site,
        group=group,
        qkv={name: array[..., columns] for name, array in group.qkv.arrays().items()},
        together=together,
        x=site.tensor(group.qkv["x"]),
        stream=stream,
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


def _project(work: AttentionWork, columns: Sequence[slice], targets: Sequence[OnChipTensor], tile: int | None) -> None:
    """Keys or values of all tokens; ``tile``: granules between tiles of columns where they are not contiguous."""
    site, qkv = work.site, work.group.qkv
    q = site.listing.engine.array_columns
    weights = [linear_layer(site, work.qkv, part) for part in columns]
    resident = fits_ring(site, *weights)
    tokens = work.operator.tokens
    parts = site.limits.token_blocks(tokens) if resident else blocks(tokens, site.limits.accumulator_rows)
    for index, (first, rows) in enumerate(parts):
        x = work.x.part(first, rows)
        for target, layer in zip(targets, weights, strict=True):
            for piece, ring in layer.uses(resident, index == len(parts) - 1):
                at = target.at.on(first * target.stride + piece.start // q * (tile or 1))
                y = OnChipTensor(at, rows, piece.stop - piece.start, 1, target.stride)
                emit.linear(site.listing, x, y, ring, qkv.operator.how, False, tile=tile, coded=layer.coded)


def _attend(work: AttentionWork, units: Sequence[Unit]) -> None:
    """The pipeline over units; queries are computed one unit ahead, so that scores need not wait for them."""
    site = work.site
    first = [work.columns(0, g * work.together, work.together) for g in range(len(work.keys))]
    queries = [linear_layer(site, work.qkv, part) for part in first]
    out = linear_layer(site, work.group.out.arrays())
    resident = fits_ring(site, *queries, out)
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
            _finish(work, before, out, resident)
        if unit is not None:
            _soften(work, unit)


def _query(work: AttentionWork, unit: Unit, queries: Sequence[Weights], resident: bool) -> None:
    x, y = work.x.part(unit.first, unit.rows), work.queries[unit.index % 2].part(0, unit.rows)
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


def _finish(work: AttentionWork, unit: Unit, out: Weights, resident: bool) -> None:
    """After the last unit of a block, the output projection, added to the residual in place."""
    if not unit.last:
        return
    mixed, target = work.mixed[unit.block % 2].part(0, unit.rows), work.stream.part(unit.first, unit.rows)
    parts = blocks(unit.rows, work.site.limits.block_rows)
    for index, (first, rows) in enumerate(parts):
        ends = index == len(parts) - 1
        stays = (resident or len(parts) > 1, (unit.final or not resident) and ends)
        x, y = mixed.part(first, rows), target.part(first, rows)
        apply(work.site, out, x, y, work.group.out.operator, stays, add=True)
