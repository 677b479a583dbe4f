"""Gates and routers as instructions: the logits of a block of tokens, then their routes.

The memory for logits does not grow with the number of experts.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgemtl.bundle import Routing
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor
from edgemtl.codegen.fpga.instructions import ROUTES, At
from edgemtl.codegen.fpga.layers import apply, linear_layer, load_constants
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.weights import route_constants
from edgemtl.hw.law import ROUTER_FRACTION_BITS
from edgemtl.schedule.tiling import BLOCK_ROWS, blocks

LOGIT_BYTES = 64
"""Bytes for the logits of one token, from which the buffer's size follows: more experts only make smaller blocks."""


def load_route_constants(site: Site, group: networks.ExpertsGroup) -> OnChipTensor:
    """Which logits are candidates, and which of the candidates are prefetched."""
    operator = group.router.operator
    return load_constants(site, route_constants(operator.experts, operator.candidates, prefetch_list(site, group)))


def prefetch_list(site: Site, group: networks.ExpertsGroup) -> tuple[int, ...]:
    """The candidates that are fetched before routing is known."""
    return site.experts.prefetch_list(group.gate["y"].buffer, len(group.router.operator.candidates))


def emit_route(
    site: Site, group: networks.ExpertsGroup, x: OnChipTensor, constants: OnChipTensor, expert_lines: int
) -> None:
    """The gate and the router, which ends with a list; ``expert_lines``: lines of one expert's weights."""
    listing, gate, router = site.listing, group.gate, group.router.operator
    site.routings.append(Routing(x.rows, router.top_k, router.experts))
    site.prefetched.append(prefetch_list(site, group))
    stride = 2 * emit.granules(listing, gate.operator.n)
    granules = min(site.limits.queries, LOGIT_BYTES * min(x.rows, 2 * BLOCK_ROWS)) // listing.engine.array_columns
    room = max(granules, stride)
    rows = min(room // stride, site.limits.block_rows)
    at = At(listing.buffer("logits", "queries", room))
    weights = linear_layer(site, gate.arrays())
    whole = rows == site.limits.block_rows
    parts = site.limits.token_blocks(x.rows) if whole else blocks(x.rows, rows)
    turns = max(room // (stride * rows), 1)
    for index, (first, count) in enumerate(parts):
        y = OnChipTensor(at.on(index % turns * rows * stride), count, gate.operator.n, 2, stride)
        ends = index == 0, index == len(parts) - 1
        apply(site, weights, x.part(first, count), y, gate.operator, (True, ends[1]))
        _route_block(site, group, y, constants, _when(first, ends, site, group, expert_lines))


def _when(
    first: int, ends: tuple[bool, bool], site: Site, group: networks.ExpertsGroup, expert_lines: int
) -> dict[str, int]:
    """The operands that say which tokens these are and which list of experts the router writes after the last one."""
    # A cache of at least one expert asks for the list in token order.
    cache = max(site.experts.cache, 1) if site.experts.by_token else 0
    return {
        "token": first,
        "begin": int(ends[0]),
        "end": int(ends[1]),
        "cache": cache,
        "lines": expert_lines if cache else 0,
        "early": len(prefetch_list(site, group)),
    }


def _route_block(
    site: Site, group: networks.ExpertsGroup, logits: OnChipTensor, constants: OnChipTensor, when: Mapping[str, int]
) -> None:
    operator = group.router.operator
    site.listing.append(
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
            coarse=ROUTER_FRACTION_BITS - operator.fraction_bits,
            **when,
        ),
        states=((), (ROUTES,)),
    )
