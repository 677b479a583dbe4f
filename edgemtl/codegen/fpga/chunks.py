"""Experts or tokens that memory on chip does not hold as a whole: a chunk of tokens at a time, weights in pieces.

Each chunk is routed by itself and runs every expert over its queue; results of a token do not depend on the others.
Weights of an expert are fetched piece by piece, for each chunk again. An instruction that gathers rows walks a queue
once, so where the first layer takes more than one instruction, an identity gathers the rows for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, Slot, make_tensor
from edgemtl.codegen.fpga.experts import combine_rows, load_zeros
from edgemtl.codegen.fpga.instructions import ROUTES, stream_operands
from edgemtl.codegen.fpga.layers import RING_PARTS
from edgemtl.codegen.fpga.networks import Of
from edgemtl.codegen.fpga.routing import emit_route, prefetch_list
from edgemtl.codegen.fpga.rows import Part, one_ahead, spilled_rows
from edgemtl.codegen.fpga.site import RowSource, Site, sums
from edgemtl.codegen.fpga.weights import expert_lines, identity_layer, layer_lines, linear_weights
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.law import Finish
from edgemtl.hw.regions import capacities
from edgemtl.schedule.tiling import blocks

COPY = Finish("int8")


@dataclass(frozen=True)
class LayerPart:
    """Some columns of a layer of an expert: where they begin among its lines, and how many lines they take."""

    columns: slice
    line: int
    lines: int


@dataclass(frozen=True)
class Chunks:
    """State of a layer of experts while its chunks are written.

    first, second: pieces of either layer. line: where the experts begin in the window `parameters`, ``lines`` each.
    identity: line and lines of the layer that gathers rows; None where the first layer does.
    """

    site: Site
    group: networks.ExpertsGroup
    first: tuple[LayerPart, ...]
    second: tuple[LayerPart, ...]
    line: int
    lines: int
    identity: tuple[int, int] | None


def fit_whole(site: Site, group: networks.ExpertsGroup) -> bool:
    """Whether memory on chip holds an expert, and the rows and sums of all tokens."""
    if site.experts.by_token or site.experts.resident:
        return True
    engine, sizes = site.listing.engine, capacities(site.listing.engine)
    a, b, tokens = group.first.operator, group.second.operator, group.combine.operator.tokens
    coded = group.first.coded, group.second.coded
    lines = expert_lines(engine, a.k, a.n, b.n, (a.table, b.table), coded)
    row, wide = (emit.granules(site.listing, width) * engine.array_columns for width in (a.k, b.n))
    sums_fit = 2 * wide * tokens <= min(sizes["residual"], sizes["hidden"])
    return lines <= site.listing.ring_lines and sums_fit and row * tokens <= sizes["input"]


def emit_chunks(site: Site, group: networks.ExpertsGroup, constants: OnChipTensor) -> None:
    """All instructions of one layer of experts, chunk by chunk; the results are rows of 16 bits."""
    work, x, view = _chunks(site, group), site.rows(group.gate["x"]), group.combine["y"]
    stream = _Stream(site, group.combine)

    def load(part: Part) -> tuple[OnChipTensor, OnChipTensor]:
        return x.part(*part), stream.part(*part)

    for (first, rows), (tokens, high) in one_ahead(blocks(group.gate.operator.rows, _most_rows(work)), load):
        emit_route(site, group, tokens, constants, 0)
        low = make_tensor(site.listing, "sums", "hidden", rows, high.width, 2)
        sums(site.listing, "OPEN", high, low)
        for entry in range(len(group.router.operator.candidates)):
            _run_expert(work, entry, tokens, (high, low))
        sums(site.listing, "SETTLE", high, low)
        site.end_block(view, first, high)


class _Stream:
    """The rows that experts add to, block by block: of the residual, or zeros; on chip as a whole, or spilled."""

    def __init__(self, site: Site, combine: Of[ops.QCombine]) -> None:
        self._site, self._dim, y = site, combine.operator.dim, combine["y"]
        residual = combine["residual"] if combine.operator.residual else None
        spilled = site.crossing.spilled
        self._source: RowSource | None = None
        self._home: OnChipTensor | None = None
        if residual is None:
            self._home = site.begin(y, "stream", "residual")
        elif residual.buffer in spilled and y.buffer in spilled:
            self._source = site.rows(residual)
            site.reserve_result(y)
        else:
            self._home = self._source = site.changeable(residual)
            if y.buffer in spilled:
                site.reserve_result(y)
            else:
                site.homes[y.buffer] = self._home

    def part(self, first: int, rows: int) -> OnChipTensor:
        """Rows from ``first`` on."""
        if self._source is not None:
            return self._source.part(first, rows)
        listing = self._site.listing
        if self._home is None:
            block = make_tensor(listing, "block", "residual", rows, self._dim, 2)
        else:
            block = self._home.part(first, rows)
        load_zeros(listing, block)
        return block


def _chunks(site: Site, group: networks.ExpertsGroup) -> Chunks:
    listing = site.listing
    whole = _layer_lines(site, group.first) <= listing.ring_lines
    first = tuple(_pieces(site, group.first, 0, whole))
    second = tuple(_pieces(site, group.second, first[-1].line + first[-1].lines, False))
    content = []
    for expert in range(group.first.operator.slots):
        for layer, pieces in ((group.first, first), (group.second, second)):
            arrays = layer.arrays(expert)
            content += [linear_weights(listing.engine, arrays, piece.columns) for piece in pieces]
    identity = None
    if not whole:
        copy = linear_weights(listing.engine, identity_layer(group.first.operator.k))
        identity = listing.parameters.add(copy), len(copy) // LINE_BYTES
    line, lines = listing.parameters.add(b"".join(content)), second[-1].line + second[-1].lines
    return Chunks(site, group, first, second, line, lines, identity)


def _layer_lines(site: Site, layer: Of[ops.QExperts], width: int | None = None) -> int:
    spec = layer.operator
    return layer_lines(site.listing.engine, spec.k, spec.n if width is None else width, spec.table, layer.coded)


def _pieces(site: Site, layer: Of[ops.QExperts], line: int, whole: bool) -> Iterator[LayerPart]:
    """The whole layer, or as many tiles of columns each as take one of `RING_PARTS` of the ring."""
    q, n = site.listing.engine.array_columns, layer.operator.n
    tile = _layer_lines(site, layer, q)
    step = n if whole else max(site.listing.ring_lines // RING_PARTS // tile, 1) * q
    for first in range(0, n, step):
        columns = slice(first, min(first + step, n))
        lines = _layer_lines(site, layer, columns.stop - first)
        yield LayerPart(columns, line, lines)
        line += lines


def _most_rows(work: Chunks) -> int:
    """Rows of a chunk: as many as every memory holds even if one expert gets them all."""
    site, group = work.site, work.group
    k, hidden, n = (
        emit.granules(site.listing, width) * site.listing.engine.array_columns
        for width in (group.first.operator.k, group.first.operator.n, group.second.operator.n)
    )
    spec, limits = group.combine, site.limits
    views = [spec["y"]] if not spec.operator.residual else [spec["residual"]]
    bounds = [limits.accumulator_rows, limits.scores // (hidden + 2 * n), limits.hidden // (4 * n)]
    bounds += [rows for rows in (spilled_rows(site, group.gate["x"]), spilled_rows(site, *views)) if rows]
    if work.identity is not None:
        bounds.append(limits.queries // (4 * k))
    return max(min(bounds), 1)


def _run_expert(work: Chunks, entry: int, x: OnChipTensor, sums_of: tuple[OnChipTensor, OnChipTensor]) -> None:
    """Both layers of the expert of a list entry over its queue, and their sums."""
    listing, spec = work.site.listing, work.group
    regions = ("scores0", "scores1") if entry % 2 else ("scores1", "scores0")
    hidden = make_tensor(listing, "expert", regions[0], x.rows, spec.first.operator.n)
    results = make_tensor(listing, "results", regions[1], x.rows, spec.second.operator.n, 2)
    rows, gather = x, True
    if work.identity is not None:
        rows, gather = make_tensor(listing, "gathered", "queries", x.rows, x.width), False
        ring = _fetch(work, entry, *work.identity, copies=True)
        emit.linear(listing, x, rows, ring, COPY, False, slot=Slot(entry, gather=True))
    for layer, pieces, source, target in (
        (spec.first, work.first, rows, hidden),
        (spec.second, work.second, hidden, results),
    ):
        slot = Slot(entry, gather=gather and layer is spec.first)
        for piece in pieces:
            ring = _fetch(work, entry, work.line + piece.line, piece.lines)
            part = emit.columns_of(listing, target, piece.columns)
            how, table = layer.operator.how, layer.operator.table
            emit.linear(listing, source, part, ring, how, table, slot=slot, coded=layer.coded)
    combine_rows(listing, Slot(entry), results, sums_of)


def _fetch(work: Chunks, entry: int, line: int, lines: int, copies: bool = False) -> dict[str, int]:
    """Fetch lines of an entry's expert, the same for all if ``copies``; the ring operands of their one reader."""
    listing, prefetched = work.site.listing, prefetch_list(work.site, work.group)
    listing.ring.remove(listing.take(lines))
    stride = 0 if copies else work.lines
    if entry < len(prefetched):
        listing.append("STREAM", {}, operands=stream_operands(line + prefetched[entry] * stride, lines))
    else:
        operands = stream_operands(line, lines, entry + 1, stride)
        listing.append("STREAM", {}, operands=operands, states=((ROUTES,), ()))
    return {"offset": 0, "release": lines}
