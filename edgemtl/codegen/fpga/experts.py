"""Experts as words: the gate and the router block by block, then every expert over its whole queue.

An expert's hidden rows and its results share one of the two score buffers, in turn. Experts of the early list are
fetched whether they get tokens or not, and before the router knows; all others when it does.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import Slot, Tensor, make_tensor
from edgemtl.codegen.fpga.layers import apply, linear_layer, load_constants
from edgemtl.codegen.fpga.site import Site, sums
from edgemtl.codegen.fpga.weights import linear_weights, route_constants
from edgemtl.codegen.fpga.words import ROUTES, At
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.schedule.tiling import BLOCK_ROWS, blocks

LOGIT_BYTES = 64
"""Bytes for the logits of a token: of what is there for all, so that more experts only make smaller blocks."""


@dataclass(frozen=True)
class Bank:
    """All experts' weights in the parameters, one after the other, ``lines`` each: first layers, then second ones."""

    line: int
    lines: int
    first_lines: int


def emit_experts(site: Site, group: networks.Experts, early: tuple[int, ...], constants: Tensor) -> None:
    """All words of one layer of experts; its sums stay open for who reads them."""
    listing, router = site.listing, group.router.spec
    x, stream = site.tensor(group.gate.inputs[0]), site.tensor(group.combine.inputs[3])
    site.settle_all(stream)
    _route(site, group, x, len(early), constants)
    low = make_tensor(listing, "sums", "hidden", stream.rows, stream.width, 2)
    for first, rows in blocks(stream.rows, BLOCK_ROWS):
        sums(listing, "OPEN", stream.part(first, rows), low.part(first, rows))
    bank = _bank(site, group)
    pairs = _make_buffers(site, group)
    for entry in range(len(router.candidates)):
        _bring(site, bank, entry, early)
        _entry(site, group, bank, entry, x, pairs[entry % 2], (stream, low))
    site.open[stream.at.buffer] = low
    site.homes[group.combine.output.buffer] = stream


def load_route_constants(site: Site, group: networks.Experts, early: tuple[int, ...]) -> Tensor:
    """Which logits are candidates, and which of the candidates are fetched early."""
    spec = group.router.spec
    return load_constants(site, route_constants(spec.experts, spec.candidates, early))


def _route(site: Site, group: networks.Experts, x: Tensor, early: int, constants: Tensor) -> None:
    """Logits of a block of tokens, then their routes, in a memory that does not grow with the experts."""
    listing, gate = site.listing, group.gate
    q = listing.engine.array_columns
    stride = 2 * emit.granules(listing, gate.spec.n)
    room = min(site.limits.queries, LOGIT_BYTES * min(x.rows, 2 * BLOCK_ROWS)) // q
    rows = min(room // stride, BLOCK_ROWS)
    at = At(listing.buffer("logits", "queries", room))
    weights = linear_layer(site, gate.arrays)
    parts, turns = blocks(x.rows, rows), max(room // (stride * rows), 1)
    for i, (first, count) in enumerate(parts):
        y = Tensor(at.on(i % turns * rows * stride), count, gate.spec.n, 2, stride)
        apply(site, weights, x.part(first, count), y, gate.spec, (True, i == len(parts) - 1))
        _route_block(site, group, y, first, (i == 0, i == len(parts) - 1), early, constants)


def _route_block(
    site: Site,
    group: networks.Experts,
    logits: Tensor,
    first: int,
    ends: tuple[bool, bool],
    early: int,
    constants: Tensor,
) -> None:
    spec = group.router.spec
    site.listing.word(
        "ROUTE",
        {"src": logits.at, "from": constants.at},
        (emit.rows_of(logits), emit.rows_of(constants)),
        (),
        operands=dict(
            src_stride=logits.stride,
            token=first,
            rows=logits.rows,
            experts=spec.experts,
            k=spec.top_k,
            normalize=int(spec.normalize),
            threshold=spec.threshold,
            cache=0,
            lines=0,
            early=early,
            begin=int(ends[0]),
            end=int(ends[1]),
        ),
        states=((), (ROUTES,)),
    )


def _bank(site: Site, group: networks.Experts) -> Bank:
    """Raises BudgetError where the ring cannot hold an expert."""
    engine = site.listing.engine
    parts = []
    for step in (group.first, group.second):
        held = step.arrays
        slots = step.spec.slots
        table = held[3 * slots :]
        parts.append([linear_weights(engine, (*held[3 * s : 3 * s + 3], *table)) for s in range(slots)])
    content = [a + b for a, b in zip(*parts, strict=True)]
    line = site.listing.parameters.add(b"".join(content))
    return Bank(line, len(content[0]) // LINE_BYTES, len(parts[0][0]) // LINE_BYTES)


def _make_buffers(site: Site, group: networks.Experts) -> list[tuple[Tensor, Tensor]]:
    """Hidden rows and results of a block, in each score buffer."""
    listing, hidden, width = site.listing, group.first.spec.n, group.second.spec.n
    row = (emit.granules(listing, hidden) + 2 * emit.granules(listing, width)) * listing.engine.array_columns
    most = min(site.limits.accumulator_rows, site.limits.scores // row, group.first.spec.tokens)
    return [
        (
            make_tensor(listing, "expert", f"scores{copy}", most, hidden),
            make_tensor(listing, "results", f"scores{copy}", most, width, 2),
        )
        for copy in range(2)
    ]


def _bring(site: Site, bank: Bank, entry: int, early: tuple[int, ...]) -> None:
    """The weights of an entry of the list: those of the early list by name, others when the router has made it."""
    if entry < len(early):
        site.listing.word(
            "STREAM",
            {},
            operands=dict(address=bank.line + early[entry] * bank.lines, lines=bank.lines, slot=0, stride=0, cached=0),
        )
        return
    operands = {"address": bank.line, "lines": bank.lines, "slot": entry + 1, "stride": bank.lines, "cached": 0}
    site.listing.word("STREAM", {}, (), (), operands=dict(**operands), states=((ROUTES,), ()))


def _entry(
    site: Site,
    group: networks.Experts,
    bank: Bank,
    entry: int,
    x: Tensor,
    buffers: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
) -> None:
    """An expert's two layers and its share of the sums, for as many blocks as its queue can have."""
    listing, first, second = site.listing, group.first.spec, group.second.spec
    pieces = [listing.take(0, bank.first_lines), listing.take(0, bank.lines - bank.first_lines)]
    hidden, y = buffers
    count = -(-x.rows // y.rows)
    for block in range(count):
        last = block == count - 1
        # A queue that ends before its last block leaves no rows there, but the weights go.
        ring = {"offset": 0, "release": 0}
        emit.linear(listing, x, hidden, ring, first.how, first.table, slot=Slot(entry, block, gather=True))
        ring = {"offset": bank.first_lines, "release": bank.lines if last else 0}
        emit.linear(listing, hidden, y, ring, second.how, second.table, slot=Slot(entry, block))
        combine(site, y, Slot(entry, block), target)
    for piece in pieces:
        listing.ring.remove(piece)


def combine(site: Site, y: Tensor, slot: Slot, target: tuple[Tensor, Tensor]) -> None:
    """Add an expert's rows to the sums of their tokens, wherever those are."""
    high, low = target
    touched = (emit.rows_of(high), emit.rows_of(low))
    site.listing.word(
        "COMBINE",
        {"src": y.at, "high": high.at, "low": low.at},
        (emit.rows_of(y), *touched),
        touched,
        operands=dict(
            src_stride=y.stride, rows=y.rows, slot=slot.entry + 1, block=slot.block, width=y.width, stride=high.stride
        ),
        states=((ROUTES,), ()),
    )
