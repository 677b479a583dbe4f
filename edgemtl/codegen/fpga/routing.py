"""Gates and routers as words: logits of a block of tokens, then their routes, in memory that no expert adds to."""

from __future__ import annotations

from collections.abc import Mapping

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import Tensor
from edgemtl.codegen.fpga.layers import apply, linear_layer, load_constants
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.weights import route_constants
from edgemtl.codegen.fpga.words import ROUTES, At
from edgemtl.schedule.tiling import BLOCK_ROWS, blocks

LOGIT_BYTES = 64
"""Bytes for the logits of a token: of what is there for all, so that more experts only make smaller blocks."""


def load_route_constants(site: Site, group: networks.Experts) -> Tensor:
    """Which logits are candidates, and which of the candidates are fetched early."""
    operator = group.router.operator
    return load_constants(site, route_constants(operator.experts, operator.candidates, early_of(site, group)))


def early_of(site: Site, group: networks.Experts) -> tuple[int, ...]:
    """The candidates that are fetched before the router has decided."""
    return site.experts.early_of(group.gate["y"].buffer, len(group.router.operator.candidates))


def emit_route(site: Site, group: networks.Experts, x: Tensor, constants: Tensor, expert_lines: int) -> None:
    """The gate and the router; an expert's weights are so many lines."""
    listing, gate = site.listing, group.gate
    stride = 2 * emit.granules(listing, gate.operator.n)
    wanted = min(site.limits.queries, LOGIT_BYTES * min(x.rows, 2 * BLOCK_ROWS)) // listing.engine.array_columns
    room = max(wanted, stride)
    rows = min(room // stride, site.limits.block_rows)
    at = At(listing.buffer("logits", "queries", room))
    weights = linear_layer(site, gate.arrays())
    whole = rows == site.limits.block_rows
    parts = site.limits.token_blocks(x.rows) if whole else blocks(x.rows, rows)
    turns = max(room // (stride * rows), 1)
    for index, (first, count) in enumerate(parts):
        y = Tensor(at.on(index % turns * rows * stride), count, gate.operator.n, 2, stride)
        ends = index == 0, index == len(parts) - 1
        apply(site, weights, x.part(first, count), y, gate.operator, (True, ends[1]))
        _route_block(site, group, y, constants, _when(first, ends, site, group, expert_lines))


def _when(
    first: int, ends: tuple[bool, bool], site: Site, group: networks.Experts, expert_lines: int
) -> dict[str, int]:
    """The operands that say which tokens these are and what list is made in the end."""
    # One at least makes a list in order of tokens.
    cache = max(site.experts.cache, 1) if site.experts.by_token else 0
    return {
        "token": first,
        "begin": int(ends[0]),
        "end": int(ends[1]),
        "cache": cache,
        "lines": expert_lines if cache else 0,
        "early": len(early_of(site, group)),
    }


def _route_block(
    site: Site, group: networks.Experts, logits: Tensor, constants: Tensor, when: Mapping[str, int]
) -> None:
    operator = group.router.operator
    site.listing.word(
        "ROUTE",
        {"src": logits.at, "from": constants.at},
        (emit.rows_of(logits), emit.rows_of(constants)),
        operands=dict(
            src_stride=logits.stride,
            rows=logits.rows,
            experts=operator.experts,
            k=operator.top_k,
            normalize=int(operator.normalize),
            threshold=operator.threshold,
            **when,
        ),
        states=((), (ROUTES,)),
    )
