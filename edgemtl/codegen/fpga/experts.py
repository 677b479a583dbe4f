"""Experts as instructions: the gate and the router block by block, then every expert over its whole queue.

The first layer of an expert is written before the second layer of the previous expert, whose hidden rows have then long
been computed. Experts take the two score buffers in turn for hidden rows, and the other one for results: so each copy
has one reader at a time, the matrix unit of hidden rows or the vector unit of results, and one writer. How long a queue
is is known only once the router has decided: rows that do not fit the score buffers go in small blocks through the
memory of the queries.
Where a queue is short, these instructions have no rows and do not stall. Experts of the prefetch list are fetched
before routing is known, whether or not they receive tokens; all others are fetched afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, Slot, make_tensor
from edgemtl.codegen.fpga.instructions import ROUTES, Listing, stream_operands
from edgemtl.codegen.fpga.routing import emit_route, prefetch_list
from edgemtl.codegen.fpga.site import Site, sums
from edgemtl.codegen.fpga.weights import linear_weights
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.schedule.tiling import blocks

LEAST_ROWS = 48
"""Least rows of a part of an expert: fewer rows take less time than the weights of a tile take to load."""


@dataclass(frozen=True)
class Bank:
    """The weights of all experts in the window `parameters`, in lines: expert after expert, ``lines`` each.

    first_lines: the lines of an expert's first layer.
    """

    line: int
    lines: int
    first_lines: int


@dataclass(frozen=True)
class Space:
    """Buffers for the hidden rows and the results of some rows of a queue."""

    hidden: OnChipTensor
    results: OnChipTensor

    @property
    def rows(self) -> int:
        """How many rows of a queue fit."""
        return self.hidden.rows

    def part(self, first: int, rows: int) -> Space:
        """The buffers of ``rows`` rows from ``first`` on."""
        return Space(self.hidden.part(first, rows), self.results.part(first, rows))


@dataclass(frozen=True)
class MixtureWork:
    """State of one layer of experts while its instructions are written; ``sums``: upper and lower halves."""

    site: Site
    group: networks.ExpertsGroup
    bank: Bank
    x: OnChipTensor
    sums: tuple[OnChipTensor, OnChipTensor]


def emit_experts(site: Site, group: networks.ExpertsGroup, constants: OnChipTensor) -> None:
    """All instructions of one layer of experts; the sums stay in two halves until the next reader settles them."""
    x, stream = site.tensor(group.gate["x"]), _stream(site, group.combine)
    bank = _bank(site, group)
    emit_route(site, group, x, constants, bank.lines)
    low = make_tensor(site.listing, "sums", "hidden", stream.rows, stream.width, 2)
    for first, rows in site.limits.token_blocks(stream.rows):
        sums(site.listing, "OPEN", stream.part(first, rows), low.part(first, rows))
    work = MixtureWork(site, group, bank, x, (stream, low))
    if site.experts.by_token:
        _in_token_order(work)
    else:
        _in_expert_order(work)
    site.open[stream.at.buffer] = low
    site.homes[group.combine["y"].buffer] = stream


def _stream(site: Site, combine: networks.Of[ops.QCombine]) -> OnChipTensor:
    """The rows to which experts add: those of the residual, to write over, or zeros where there is none."""
    if combine.operator.residual:
        return site.changeable(combine["residual"])
    listing, spec = site.listing, combine.operator
    zeros = make_tensor(listing, "sums", "residual", spec.tokens, spec.dim, 2)
    for first, rows in site.limits.token_blocks(spec.tokens):
        load_zeros(listing, zeros.part(first, rows))
    return zeros


def load_zeros(listing: Listing, rows: OnChipTensor) -> None:
    """Load zeros into rows: the same lines for each."""
    line = listing.parameters.add(bytes(rows.stride * listing.engine.array_columns))
    emit.load(listing, "parameters", line, 0, rows)


def _bank(site: Site, group: networks.ExpertsGroup) -> Bank:
    engine, parts = site.listing.engine, []
    for layer in (group.first, group.second):
        parts.append([linear_weights(engine, layer.arrays(expert)) for expert in range(layer.operator.slots)])
    content = [a + b for a, b in zip(*parts, strict=True)]
    line = site.listing.parameters.add(b"".join(content))
    return Bank(line, len(content[0]) // LINE_BYTES, len(parts[0][0]) // LINE_BYTES)


def _in_expert_order(work: MixtureWork) -> None:
    """Every entry of the router's list; two experts are in the ring at once where both fit.

    Words of one entry walk its queue from the front: rows beyond the score buffer come last. They then wait for the sum
    of the rows before, during which the first layer of the next expert runs.
    """
    site, bank = work.site, work.bank
    spaces, overflow = _spaces(work)
    prefetched = prefetch_list(site, work.group)
    two_fit = 2 * bank.lines <= site.listing.ring_lines
    entries = len(work.group.router.operator.candidates)

    def begin(entry: int) -> None:
        if entry >= entries:
            return
        if not site.experts.resident:
            _fetch(work, entry, prefetched)
        space, offset = spaces[entry % 2], bank.lines if two_fit and entry else 0
        # Nothing hides the walk along the first queue: its first rows start before the others are known.
        ahead = min(LEAST_ROWS, space.rows - 1) if entry == 0 else 0
        for first, rows in ((0, ahead), (ahead, space.rows - ahead)):
            if rows:
                _first(work, Slot(entry, first, gather=True), space.part(first, rows), offset)

    for entry in range(entries if site.experts.resident else 0):
        _fetch(work, entry, prefetched)
    begin(0)
    for entry in range(entries):
        if two_fit and not overflow:
            begin(entry + 1)
        _finish(work, entry, spaces[entry % 2], 0 if overflow else bank.lines)
        if overflow:
            if two_fit:
                begin(entry + 1)
            _overflow(work, entry, spaces[entry % 2].rows, overflow)
        site.listing.ring.pop(0)
        if not two_fit:
            begin(entry + 1)


def _spaces(work: MixtureWork) -> tuple[list[Space], list[Space]]:
    """A space in each score buffer, and two in the memory of the queries where a queue can be longer."""
    tokens = work.x.rows
    row = _row_bytes(work)
    limits = work.site.limits
    most = min(limits.accumulator_rows, limits.scores // row, tokens)
    if most < 1:
        raise BudgetError("one row of an expert", row, limits.scores, "take larger score buffers, memory 'scores0'")
    rest = min(limits.queries // row, 2 * limits.accumulator_rows, tokens - most)
    sizes = [rows for _, rows in blocks(rest, -(-rest // 2))] if rest else []
    return _score_spaces(work, most), [_space(work, "queries", "queries", rows) for rows in sizes]


def _row_bytes(work: MixtureWork) -> int:
    listing = work.site.listing
    hidden, width = work.group.first.operator.n, work.group.second.operator.n
    return (emit.granules(listing, hidden) + 2 * emit.granules(listing, width)) * listing.engine.array_columns


def _score_spaces(work: MixtureWork, rows: int) -> list[Space]:
    """Two spaces: hidden rows in one score buffer, results in the other."""
    return [_space(work, *regions, rows) for regions in (("scores0", "scores1"), ("scores1", "scores0"))]


def _space(work: MixtureWork, hidden: str, results: str, rows: int) -> Space:
    listing = work.site.listing
    hidden_rows = make_tensor(listing, "expert", hidden, rows, work.group.first.operator.n)
    return Space(hidden_rows, make_tensor(listing, "results", results, rows, work.group.second.operator.n, 2))


def _fetch(work: MixtureWork, entry: int, prefetched: tuple[int, ...]) -> None:
    """Fetch the weights of an entry: of the prefetch list at once, of the router's list once it is written."""
    bank, listing = work.bank, work.site.listing
    listing.take(bank.lines)
    if entry < len(prefetched):
        operands = stream_operands(bank.line + prefetched[entry] * bank.lines, bank.lines)
        listing.append("STREAM", {}, operands=operands)
    else:
        operands = stream_operands(bank.line, bank.lines, entry + 1, bank.lines)
        listing.append("STREAM", {}, operands=operands, states=((ROUTES,), ()))


def _finish(work: MixtureWork, entry: int, space: Space, release: int) -> None:
    """The second layer of an expert and its sums, of the rows that the score buffer holds.

    release: lines of the ring that leave it afterwards.
    """
    # In two parts: the vector unit sums the first while the matrix unit computes the second.
    halves = blocks(space.rows, max(-(-space.rows // 2), LEAST_ROWS))
    for index, (first, rows) in enumerate(halves):
        _second(work, Slot(entry, first), space.part(first, rows), release if index == len(halves) - 1 else 0)


def _overflow(work: MixtureWork, entry: int, first: int, spaces: Sequence[Space]) -> None:
    """The rows of a queue from ``first`` on, block by block; a short queue does not reach them, and they take no time.

    Blocks go in pairs: the second layer of one then need not wait for its first layer. With the last block the expert's
    weights leave the ring.
    """
    pair = sum(space.rows for space in spaces)
    for begin in range(first, work.x.rows, pair):
        skips = [begin + sum(space.rows for space in spaces[:index]) for index in range(len(spaces))]
        for skip, space in zip(skips, spaces, strict=True):
            _first(work, Slot(entry, skip, gather=True), space, 0)
        for index, (skip, space) in enumerate(zip(skips, spaces, strict=True)):
            last = begin + pair >= work.x.rows and index == len(spaces) - 1
            _second(work, Slot(entry, skip), space, work.bank.lines if last else 0)


def _first(work: MixtureWork, slot: Slot, space: Space, offset: int, cache: str | None = None) -> None:
    layer, ring = work.group.first, {"offset": offset, "release": 0}
    _linear(work, layer, work.x, space.hidden, ring, slot, cache)


def _linear(
    work: MixtureWork,
    layer: networks.Of[ops.QExperts],
    x: OnChipTensor,
    y: OnChipTensor,
    ring: dict[str, int],
    slot: Slot,
    cache: str | None,
) -> None:
    how, table = layer.operator.how, layer.operator.table
    emit.linear(work.site.listing, x, y, ring, how, table, slot=slot, cache=cache, coded=layer.coded)


def _second(work: MixtureWork, slot: Slot, space: Space, release: int, cache: str | None = None) -> None:
    """The second layer of some rows, and their addition to the sums."""
    listing, ring = work.site.listing, {"offset": work.bank.first_lines, "release": release}
    _linear(work, work.group.second, space.hidden, space.results, ring, slot, cache)
    combine_rows(listing, slot, space.results, work.sums)


def combine_rows(listing: Listing, slot: Slot, y: OnChipTensor, sums_of: tuple[OnChipTensor, OnChipTensor]) -> None:
    """COMBINE: add the results of an expert to the sums of their tokens, upper and lower halves."""
    high, low = sums_of
    touched = emit.rows_of(high), emit.rows_of(low)
    listing.append(
        "COMBINE",
        {"src": y.at, "high": high.at, "low": low.at},
        (emit.rows_of(y), *touched),
        touched,
        operands=dict(
            src_stride=y.stride,
            rows=y.rows,
            slot=slot.entry + 1,
            skip=slot.skip,
            width=y.width,
            stride=high.stride,
        ),
        states=((ROUTES,), ()),
    )


def _in_token_order(work: MixtureWork) -> None:
    """The experts of every token one by one; an expert is fetched when a token needs it and it is not in the cache."""
    site, bank, cache_size = work.site, work.bank, work.site.experts.cache
    spaces = _score_spaces(work, 1)
    for visit in range(work.x.rows * work.group.router.operator.top_k):
        # The cache entry that a visit may replace was last used ``cache_size`` visits ago, or before.
        cache = f"cache {visit % cache_size}" if cache_size else None
        operands = stream_operands(bank.line, bank.lines, visit + 1, bank.lines, cache is not None)
        site.listing.append("STREAM", {}, operands=operands, states=((ROUTES,), (cache,) if cache else ()))
        if cache is None:
            site.listing.take(bank.lines)
        _first(work, Slot(visit, gather=True, cached=cache is not None), spaces[visit % 2], 0, cache)
        release = bank.lines if cache is None else 0
        _second(work, Slot(visit, cached=cache is not None), spaces[visit % 2], release, cache)
        if cache is None:
            site.listing.ring.pop(0)
