"""What becomes of the mixed values of an attention: a layer behind it takes them, or they are its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.heads import padded, padded_rows
from edgemtl.codegen.fpga.layers import Weights, apply, linear_layer
from edgemtl.codegen.fpga.rows import block_of, residual_of, target_of
from edgemtl.codegen.fpga.site import RowSource, Site
from edgemtl.hw.arith import encode_scale, pack_scale
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import View
from edgemtl.operators import Array
from edgemtl.schedule.tiling import blocks


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
class Projection:
    """The layer behind some heads, in pieces side by side: each reads ``k`` columns and writes the columns of its own.

    ``first``: the first column of the heads among the results.
    """

    first: int
    layer: ops.QLinear
    weights: tuple[Weights, ...]
    k: int
    n: int


@dataclass(frozen=True)
class AttentionResult:
    """Where the result of an attention goes; None for ``y`` where it is spilled, for ``add`` without a residual."""

    site: Site
    group: networks.AttentionGroup
    y: OnChipTensor | None
    add: RowSource | None

    @property
    def view(self) -> View:
        """The result."""
        return (self.group.attention if self.group.out is None else self.group.out)["y"]

    def projection(self, first: int, heads: int) -> Projection:
        """The layer behind ``heads`` heads from ``first`` on."""
        engine, attention = self.site.listing.engine, self.group.attention.operator
        wide = padded(engine, attention)
        if self.group.out is not None:
            same = wide == attention
            layer = self.group.out.arrays() if same else padded_rows(engine, attention, self.group.out.step.arrays())
            k = heads * wide.head_dim
            return Projection(0, self.group.out.operator, (linear_layer(self.site, layer),), k, len(layer["bias"]))
        return self._copy(first, heads)

    def _copy(self, first: int, heads: int) -> Projection:
        """A layer that copies: the identity, in pieces as wide as the array's rows, or at once from padded heads."""
        engine, attention = self.site.listing.engine, self.group.attention.operator
        wide = padded(engine, attention)
        n = heads * attention.head_dim
        layer = ops.QLinear(attention.tokens, n, n, Finish("int8"))
        if wide != attention:
            k = heads * wide.head_dim
            part = padded_rows(engine, ops.QAttention(1, heads, attention.head_dim, 0, 0, 0), _identity(n))
            return Projection(first * attention.head_dim, layer, (linear_layer(self.site, part),), k, n)
        step = max(engine.array_rows // engine.array_columns, 1) * engine.array_columns
        sizes = [min(step, n - at) for at in range(0, n, step)]
        pieces = tuple(linear_layer(self.site, _identity(size)) for size in sizes)
        return Projection(first * attention.head_dim, layer, pieces, min(step, n), min(step, n))

    def finish(self, unit: Unit, mixed: OnChipTensor, out: Projection, resident: bool) -> None:
        """Apply the layer to the mixed values of a block of queries, its last unit done."""
        parts = blocks(unit.rows, self.site.limits.block_rows)
        for index, (first, rows) in enumerate(parts):
            ends = index == len(parts) - 1
            stays = (resident or len(parts) > 1, (unit.final or not resident) and ends)
            self._finish_rows(unit.first + first, mixed.part(first, rows), out, stays)

    def _finish_rows(self, first: int, x: OnChipTensor, out: Projection, stays: tuple[bool, bool]) -> None:
        listing = self.site.listing
        add = None if self.add is None else self.add.part(first, x.rows)
        if self.y is not None:
            y = emit.columns_of(listing, self.y.part(first, x.rows), slice(out.first, out.first + out.layer.n))
        elif self.group.out is not None:
            y = block_of(self.site, self.group.out, add, x.rows)
        else:
            y = make_tensor(listing, "block", "residual", x.rows, out.layer.n)
        for index, weights in enumerate(out.weights):
            source = _columns(listing.engine.array_columns, x, index * out.k, out.k)
            target = _columns(listing.engine.array_columns, y, index * out.n, out.n)
            apply(self.site, weights, source, target, out.layer, stays, add)
        self.site.end_block(self.view, first, y, out.first)


def _columns(q: int, rows: OnChipTensor, first: int, width: int) -> OnChipTensor:
    """Some columns of all rows; ``first`` begins a granule."""
    at = rows.at.on(first // q * rows.itemsize)
    return OnChipTensor(at, rows.rows, min(width, rows.width - first), rows.itemsize, rows.stride)


def _identity(n: int) -> dict[str, Array]:
    """A layer of n channels that gives the bytes it reads."""
    scale = np.full(n, pack_scale(*encode_scale(1.0)), np.int32)
    return {"weight": np.eye(n, dtype=np.int8), "bias": np.zeros(n, np.int32), "scale": scale}


def open_result(site: Site, group: networks.AttentionGroup) -> AttentionResult:
    """Room for the result of an attention, and the residual that its layer adds."""
    if group.out is None:
        return AttentionResult(site, group, site.begin(group.attention["y"], "rows", "residual"), None)
    add = residual_of(site, group.out)
    return AttentionResult(site, group, target_of(site, group.out, add), add)
