"""Patch embedding, LayerNorm and linear layers as instructions, block of rows by block of rows.

Operands are on chip as a whole, or spilled: then each block is loaded from DRAM one block ahead, and its results are
stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.layers import Weights, apply, fits_ring, linear_layer, load_constants
from edgemtl.codegen.fpga.networks import Of
from edgemtl.codegen.fpga.site import RowSource, Site, SpilledRows
from edgemtl.codegen.fpga.weights import norm_constants, rows_constants
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import blocks

SPILL_PARTS = 2
"""Blocks of spilled rows, two of every operand, take at most this fraction (one part of so many) of their region."""
T = TypeVar("T")
Part = tuple[int, int]
"""The first row of a block, and its rows."""


def one_ahead(parts: Sequence[Part], load: Callable[[Part], T]) -> Iterator[tuple[Part, T]]:
    """Each block with what ``load`` gives for it, which is asked for while the block before is worked on."""
    following = load(parts[0])
    for index, part in enumerate(parts):
        current = following
        if index + 1 < len(parts):
            following = load(parts[index + 1])
        yield part, current


def spilled_rows(site: Site, *views: View) -> int:
    """Most rows of a block of operands of one region, all of which are spilled or none; 0 where none is."""
    spilled = [view for view in views if view.buffer in site.crossing.spilled]
    if not spilled:
        return 0
    row = sum(_row_bytes(site, view) for view in spilled)
    region = site.limits.rows if spilled[0].dtype == "int8" else site.limits.images
    return max(region // (SPILL_PARTS * 2 * row), 1)


def _row_bytes(site: Site, view: View) -> int:
    return emit.granules(site.listing, view.shape[-1]) * site.listing.engine.array_columns * view.itemsize


def bounded(parts: list[Part], rows: int, *most: int) -> list[Part]:
    """The blocks, or as many as it takes where one is larger than any bound that is not 0."""
    bounds = [bound for bound in most if bound]
    return parts if all(count <= min(bounds, default=count) for _, count in parts) else blocks(rows, min(bounds))


def emit_patch(site: Site, group: networks.PatchGroup) -> None:
    """Patch embedding: load the position table first, then add the products of the patches to it."""
    listing, step = site.listing, group.embed
    constants = step.arrays()
    work = PatchWork(
        site=site,
        embed=step,
        weights=linear_layer(site, {name: constants[name] for name in ("weight", "bias", "scale")}),
        line=listing.parameters.add(rows_constants(listing.engine, constants["table"])),
        patches=SpilledRows(site, site.stored[step["x"].buffer], 0),
    )
    if {step["x"].buffer, step["y"].buffer} & site.crossing.spilled:
        _patch_blocks(work)
    else:
        _patch_whole(work)


@dataclass(frozen=True)
class PatchWork:
    """State of a patch embedding while its instructions are written; ``line`` of the position table."""

    site: Site
    embed: Of[ops.QPatchEmbed]
    weights: Weights
    line: int
    patches: SpilledRows

    def load_table(self, first: int, rows: OnChipTensor) -> None:
        """Load the positions of rows from ``first`` on."""
        if rows.rows:
            lines = emit.lines_of(self.site.listing, rows)
            emit.load(self.site.listing, "parameters", self.line + first * lines, lines, rows)

    def add_products(self, patches: OnChipTensor, y: OnChipTensor, stays: tuple[bool, bool]) -> None:
        """Add the products of patches to the positions that ``y`` holds."""
        spec = self.embed.operator
        as_linear = ops.QLinear(spec.patches, spec.k, spec.n, Finish("int16"), residual=True)
        apply(self.site, self.weights, patches, y, as_linear, stays, y)


def _patch_whole(work: PatchWork) -> None:
    """All tokens on chip, and all patches in the hidden region: nothing else is there yet."""
    site, spec, stored = work.site, work.embed.operator, work.patches.stored
    stream = make_tensor(site.listing, "stream", "residual", spec.leading + spec.patches, spec.n, 2)
    patches = make_tensor(site.listing, "patches", "hidden", stored.rows, stored.width)
    site.owners[patches.at.buffer] = {stored.buffer}
    work.load_table(0, stream.part(0, spec.leading))
    parts = site.limits.token_blocks(spec.patches)
    for first, rows in parts:
        work.load_table(spec.leading + first, stream.part(spec.leading + first, rows))
        site.load_block(stored, first, patches.part(first, rows))
    stays = fits_ring(site, work.weights)
    for index, (first, rows) in enumerate(parts):
        y = stream.part(spec.leading + first, rows)
        work.add_products(patches.part(first, rows), y, (stays, index == len(parts) - 1))
    site.homes[work.embed["y"].buffer] = stream


def _patch_blocks(work: PatchWork) -> None:
    """Tokens block by block, each loaded with its patches, and stored where they are spilled."""
    site, spec, view = work.site, work.embed.operator, work.embed["y"]
    stream = site.begin(view, "stream", "residual")

    def positions(first: int, rows: int) -> OnChipTensor:
        if stream is None:
            block = make_tensor(site.listing, "stream", "residual", rows, spec.n, 2)
        else:
            block = stream.part(first, rows)
        work.load_table(first, block)
        return block

    if spec.leading:
        site.end_block(view, 0, positions(0, spec.leading))
    stays, most = fits_ring(site, work.weights), spilled_rows(site, view)
    row = emit.granules(site.listing, spec.k) * site.listing.engine.array_columns
    narrow = max(site.limits.rows // (SPILL_PARTS * 2 * row), 1)
    parts = bounded(site.limits.token_blocks(spec.patches), spec.patches, most, narrow)

    def load(part: Part) -> tuple[OnChipTensor, OnChipTensor]:
        return work.patches.part(*part), positions(spec.leading + part[0], part[1])

    for index, ((first, _), (patches, block)) in enumerate(one_ahead(parts, load)):
        work.add_products(patches, block, (stays, index == len(parts) - 1))
        site.end_block(view, spec.leading + first, block)


def emit_norm(site: Site, group: networks.NormGroup, constants: OnChipTensor | None) -> None:
    """LayerNorm block by block; rows that are still sums of experts in two halves are settled before."""
    step = group.norm
    x, rows = site.rows(step["x"]), step.operator.rows
    y = site.begin(step["y"], "norm", "input")
    parts = bounded(site.limits.token_blocks(rows), rows, *(spilled_rows(site, step[name]) for name in ("x", "y")))
    for (first, count), source in one_ahead(parts, lambda part: x.part(*part)):
        if isinstance(x, OnChipTensor):
            site.settle(x, first, count)
        width = step.operator.dim
        target = make_tensor(site.listing, "norm", "input", count, width) if y is None else y.part(first, count)
        _norm(site, step.operator, source, target, constants)
        site.end_block(step["y"], first, target)
    if isinstance(x, OnChipTensor):
        _settle_others(site, site.homes[step["x"].buffer], x)


def _norm(site: Site, spec: ops.QLayerNorm, x: OnChipTensor, y: OnChipTensor, constants: OnChipTensor | None) -> None:
    read = () if constants is None else (emit.rows_of(constants),)
    site.listing.append(
        "NORM",
        {"src": x.at, "dst": y.at} | ({} if constants is None else {"from": constants.at}),
        (emit.rows_of(x), *read),
        (emit.rows_of(y),),
        operands=dict(
            src_stride=x.stride,
            dst_stride=y.stride,
            rows=x.rows,
            width=spec.dim,
            epsilon=spec.epsilon,
            mul=spec.mul,
            shift=spec.shift,
            parameters=int(constants is not None),
            **emit.unused("from", "constants"),
        ),
    )


def _settle_others(site: Site, home: OnChipTensor, x: OnChipTensor) -> None:
    """Settle the rows that a LayerNorm skips too: another step may read them."""
    first = (x.at.granule - home.at.granule) // home.stride
    behind = first + x.rows
    for at, rows in ((0, first), (behind, home.rows - behind)):
        if rows:
            site.settle(home, at, rows)
    site.open.pop(home.at.buffer, None)


def load_norm_constants(site: Site, group: networks.NormGroup) -> OnChipTensor | None:
    """Halvings and offsets on chip; None where all are 0."""
    constants = group.norm.arrays()
    if not any(array.any() for array in constants.values()):
        return None
    return load_constants(site, norm_constants(site.listing.engine, constants["halvings"], constants["offset"]))


def emit_layers(site: Site, *layers: Of[ops.QLinear]) -> None:
    """One linear layer, or two of which the first is read by the second alone, and a residual behind the last.

    Rows between two layers are in two buffers in turn. The residual is added in place where nothing reads it later.
    """
    first, last = layers[0], layers[-1]
    x = site.rows(first["x"])
    residual = residual_of(site, last)
    y = target_of(site, last, residual)
    weights = [linear_layer(site, layer.arrays()) for layer in layers]
    resident = fits_ring(site, *weights)
    parts = _parts(site, layers, resident)
    hidden = _hidden(site, parts, layers)

    def load(part: Part) -> tuple[OnChipTensor, OnChipTensor | None]:
        return x.part(*part), None if residual is None else residual.part(*part)

    for index, ((at, rows), (source, add)) in enumerate(one_ahead(parts, load)):
        stays = (resident, index == len(parts) - 1)
        for layer, weight in zip(layers[:-1], weights, strict=False):
            between = hidden[index % 2].part(0, rows)
            apply(site, weight, source, between, layer.operator, stays)
            source = between
        target = block_of(site, last, add, rows) if y is None else y.part(at, rows)
        apply(site, weights[-1], source, target, last.operator, stays, add)
        site.end_block(last["y"], at, target)


def residual_of(site: Site, layer: Of[ops.QLinear]) -> RowSource | None:
    """The rows that a layer adds, sums of experts among them settled; None where it adds none."""
    if not layer.operator.residual:
        return None
    rows = site.rows(layer["residual"])
    if isinstance(rows, OnChipTensor):
        site.settle_all(rows)
    return rows


def target_of(site: Site, layer: Of[ops.QLinear], residual: RowSource | None) -> OnChipTensor | None:
    """Where the result is on chip: in place of the residual, or in room of its own; None where it is spilled."""
    spilled = layer["y"].buffer in site.crossing.spilled
    if isinstance(residual, OnChipTensor) and not spilled and site.may_change(layer["residual"]):
        site.homes[layer["y"].buffer] = residual
        return residual
    return site.begin(layer["y"], "rows", "residual")


def block_of(site: Site, layer: Of[ops.QLinear], add: OnChipTensor | None, rows: int) -> OnChipTensor:
    """Room for a block of spilled results: in place of the residual's block, if that was loaded for it."""
    if add is not None and layer["residual"].buffer in site.crossing.spilled:
        return add
    return make_tensor(site.listing, "block", "residual", rows, layer.operator.n, layer["y"].itemsize)


def _parts(site: Site, layers: Sequence[Of[ops.QLinear]], resident: bool) -> list[Part]:
    first, last = layers[0], layers[-1]
    rows, limits = first.operator.rows, site.limits
    most = limits.accumulator_rows
    if len(layers) == 2:
        row = emit.granules(site.listing, first.operator.n) * site.listing.engine.array_columns
        most = min(most, limits.hidden // (2 * row))
    whole = resident and most >= limits.block_rows
    parts = limits.token_blocks(rows) if whole else blocks(rows, most)
    return bounded(parts, rows, spilled_rows(site, first["x"]), spilled_rows(site, *_wide(site, last)))


def _wide(site: Site, layer: Of[ops.QLinear]) -> list[View]:
    """Operands of a layer that take room in the residual region; a result in place of its residual counts once."""
    if not layer.operator.residual:
        return [layer["y"]]
    in_place = layer["residual"].buffer in site.crossing.spilled and layer["y"].buffer in site.crossing.spilled
    return [layer["y"]] if in_place else [layer["residual"], layer["y"]]


def _hidden(site: Site, parts: Sequence[Part], layers: Sequence[Of[ops.QLinear]]) -> list[OnChipTensor]:
    """Two buffers for the rows between two layers; one where there is one block."""
    if len(layers) == 1:
        return []
    most = max(rows for _, rows in parts)
    return [make_tensor(site.listing, "mlp", "hidden", most, layers[0].operator.n) for _ in parts[:2]]
