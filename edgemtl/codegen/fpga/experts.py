"""Experts as words: the gate and the router block by block, then every expert over its whole queue.

An expert's first layer is written before the second layer of the expert before it, whose results are then long there.
Its hidden rows and its results share one of the two score buffers, in turn. What of a queue does not fit there, which
nobody knows before the router has decided, goes in small blocks through the queries' memory; where a queue is short
these words have no rows, and wait for nothing that is not long done. Experts of the early list are fetched whether
they get tokens or not, before the router knows; all others when it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import Slot, Tensor, make_tensor
from edgemtl.codegen.fpga.routing import early_of, emit_route
from edgemtl.codegen.fpga.site import Site, sums
from edgemtl.codegen.fpga.weights import linear_weights
from edgemtl.codegen.fpga.words import ROUTES
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.schedule.tiling import blocks

LEAST_ROWS = 48
"""Rows of a part of an expert: fewer would take less time than the weights of a tile take to load."""


@dataclass(frozen=True)
class Bank:
    """All experts' weights in the parameters, ``lines`` each: both layers of one, then of the next."""

    line: int
    lines: int
    first_lines: int


@dataclass(frozen=True)
class Space:
    """Hidden rows and results of so many rows of a queue."""

    hidden: Tensor
    results: Tensor

    @property
    def rows(self) -> int:
        """Rows it holds."""
        return self.hidden.rows

    def part(self, first: int, rows: int) -> Space:
        """Some of its rows."""
        return Space(self.hidden.part(first, rows), self.results.part(first, rows))


@dataclass(frozen=True)
class Mixture:
    """One layer of experts while it is written; ``sums`` are the upper and the lower halves."""

    site: Site
    group: networks.Experts
    bank: Bank
    x: Tensor
    sums: tuple[Tensor, Tensor]


def emit_experts(site: Site, group: networks.Experts, constants: Tensor) -> None:
    """All words of one layer of experts; its sums stay open for who reads them."""
    x, stream = site.tensor(group.gate["x"]), site.tensor(group.combine["residual"])
    site.settle_all(stream)
    bank = _bank(site, group)
    emit_route(site, group, x, constants, bank.lines)
    low = make_tensor(site.listing, "sums", "hidden", stream.rows, stream.width, 2)
    for first, rows in site.limits.token_blocks(stream.rows):
        sums(site.listing, "OPEN", stream.part(first, rows), low.part(first, rows))
    made = Mixture(site, group, bank, x, (stream, low))
    if site.experts.by_token:
        _in_token_order(made)
    else:
        _in_expert_order(made)
    site.open[stream.at.buffer] = low
    site.homes[group.combine["y"].buffer] = stream


def _bank(site: Site, group: networks.Experts) -> Bank:
    engine, parts = site.listing.engine, []
    for layer in (group.first, group.second):
        parts.append([linear_weights(engine, layer.arrays(expert)) for expert in range(layer.operator.slots)])
    content = [a + b for a, b in zip(*parts, strict=True)]
    line = site.listing.parameters.add(b"".join(content))
    return Bank(line, len(content[0]) // LINE_BYTES, len(parts[0][0]) // LINE_BYTES)


def _in_expert_order(made: Mixture) -> None:
    """Every entry of the list; two experts are in the ring at once where it holds them."""
    site, bank = made.site, made.bank
    spaces, overflow = _spaces(made)
    early = early_of(site, made.group)
    ahead = int(2 * bank.lines <= site.listing.ring_lines)
    entries = len(made.group.router.operator.candidates)
    if site.experts.resident:
        for entry in range(entries):
            _bring(made, entry, early)
    for entry in range(entries + ahead):
        if entry < entries:
            if not site.experts.resident:
                _bring(made, entry, early)
            offset = bank.lines if ahead and entry else 0
            _first(made, Slot(entry, gather=True), spaces[entry % 2], offset)
        if entry >= ahead:
            _finish(made, entry - ahead, spaces[(entry - ahead) % 2], overflow)


def _spaces(made: Mixture) -> tuple[list[Space], Space | None]:
    """A space in each score buffer, and where a queue can be longer one in the queries' memory."""
    tokens = made.x.rows
    row = _row_bytes(made)
    limits = made.site.limits
    most = min(limits.accumulator_rows, limits.scores // row, tokens)
    if most < 1:
        raise BudgetError("one row of an expert", row, limits.scores, "take larger score buffers, memory 'scores0'")
    spaces = [_space(made, f"scores{copy}", most) for copy in range(2)]
    rest = min(limits.queries // row, limits.accumulator_rows, tokens - most)
    return spaces, _space(made, "queries", rest) if rest > 0 else None


def _row_bytes(made: Mixture) -> int:
    listing = made.site.listing
    hidden, width = made.group.first.operator.n, made.group.second.operator.n
    return (emit.granules(listing, hidden) + 2 * emit.granules(listing, width)) * listing.engine.array_columns


def _space(made: Mixture, region: str, rows: int) -> Space:
    listing = made.site.listing
    hidden = make_tensor(listing, "expert", region, rows, made.group.first.operator.n)
    return Space(hidden, make_tensor(listing, "results", region, rows, made.group.second.operator.n, 2))


def _bring(made: Mixture, entry: int, early: tuple[int, ...]) -> None:
    """The weights of an entry of the list: those of the early list by name, others when the router has made it."""
    bank, listing = made.bank, made.site.listing
    listing.take(bank.lines)
    operands = {"address": bank.line, "lines": bank.lines, "slot": 0, "stride": 0, "cached": 0}
    if entry < len(early):
        operands["address"] += early[entry] * bank.lines
        listing.word("STREAM", {}, operands=operands)
    else:
        operands |= {"slot": entry + 1, "stride": bank.lines}
        listing.word("STREAM", {}, operands=operands, states=((ROUTES,), ()))


def _finish(made: Mixture, entry: int, space: Space, overflow: Space | None) -> None:
    """What is left of an expert when its first rows have gone through the first layer; its weights leave the ring."""
    for skip in _overflows(made, space, overflow):
        assert overflow is not None
        _first(made, Slot(entry, skip, gather=True), overflow, 0)
        _second(made, Slot(entry, skip), overflow, 0)
    # In two parts: the sums of the first are on their way while the second is computed.
    halves = blocks(space.rows, max(-(-space.rows // 2), LEAST_ROWS))
    for index, (first, rows) in enumerate(halves):
        release = made.bank.lines if index == len(halves) - 1 else 0
        _second(made, Slot(entry, first), space.part(first, rows), release)
    made.site.listing.ring.pop(0)


def _overflows(made: Mixture, space: Space, overflow: Space | None) -> Iterator[int]:
    """Places of a queue where blocks begin that may not be there."""
    if overflow is not None:
        yield from range(space.rows, made.x.rows, overflow.rows)


def _first(made: Mixture, slot: Slot, space: Space, offset: int, cache: str | None = None) -> None:
    operator, ring = made.group.first.operator, {"offset": offset, "release": 0}
    emit.linear(made.site.listing, made.x, space.hidden, ring, operator.how, operator.table, slot=slot, cache=cache)


def _second(made: Mixture, slot: Slot, space: Space, release: int, cache: str | None = None) -> None:
    """The second layer of some rows, and their share of the sums."""
    listing, operator = made.site.listing, made.group.second.operator
    ring = {"offset": made.bank.first_lines, "release": release}
    emit.linear(listing, space.hidden, space.results, ring, operator.how, operator.table, slot=slot, cache=cache)
    high, low = made.sums
    y, touched = space.results, (emit.rows_of(high), emit.rows_of(low))
    listing.word(
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


def _in_token_order(made: Mixture) -> None:
    """Every token's experts one by one: an expert is fetched when a token needs it and the cache does not hold it."""
    site, bank, places = made.site, made.bank, made.site.experts.cache
    space = [_space(made, f"scores{copy}", 1) for copy in range(2)]
    for visit in range(made.x.rows * made.group.router.operator.top_k):
        # The place that a visit may fill was used last so many visits ago, or before.
        cache = f"cache {visit % places}" if places else None
        cached = int(cache is not None)
        operands = dict(address=bank.line, lines=bank.lines, slot=visit + 1, stride=bank.lines, cached=cached)
        site.listing.word("STREAM", {}, operands=operands, states=((ROUTES,), (cache,) if cache else ()))
        if cache is None:
            site.listing.take(bank.lines)
        _first(made, Slot(visit, gather=True, cached=cache is not None), space[visit % 2], 0, cache)
        release = bank.lines if cache is None else 0
        _second(made, Slot(visit, cached=cache is not None), space[visit % 2], release, cache)
        if cache is None:
            site.listing.ring.pop(0)
