"""Patch embedding, LayerNorm and MLPs as instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.instructions import At, Piece
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.weights import Arrays, is_coded, linear_weights, norm_constants, rows_constants
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.law import Finish
from edgemtl.schedule.tiling import blocks

RING_PARTS = 8
"""The weights of one instruction take at most this fraction (one part of so many) of the ring."""


class Weights:
    """The weights of one layer in the window `parameters`, fetched into the ring once, or again for each use.

    They are split by columns: an instruction occupies its part of the ring until it ends, while the following weights
    are fetched.
    """

    def __init__(self, site: Site, pack: Callable[[slice], bytes], width: int, coded: bool = False) -> None:
        self._site, self.coded = site, coded
        whole = pack(slice(0, width))
        wide = site.listing.engine.array_columns
        tiles = -(-width // wide)
        count = max(-(-len(whole) // (site.limits.ring_lines * LINE_BYTES // RING_PARTS)), 1)
        self.columns = [slice(a * wide, min((a + n) * wide, width)) for a, n in blocks(tiles, max(tiles // count, 1))]
        contents = [pack(part) for part in self.columns] if len(self.columns) > 1 else [whole]
        self._lines = [(site.listing.parameters.add(c), len(c) // LINE_BYTES) for c in contents]
        self._pieces: list[Piece] = []

    @property
    def lines(self) -> int:
        """Lines of the ring that all columns together take."""
        return sum(lines for _, lines in self._lines)

    def uses(self, resident: bool, last: bool) -> Iterator[tuple[slice, dict[str, int]]]:
        """The columns and ring operands of each instruction; ``resident`` weights stay until the ``last`` use."""
        listing = self._site.listing
        if resident and not self._pieces:
            self._pieces = [listing.stream(*part) for part in self._lines]
        for index, (columns, part) in enumerate(zip(self.columns, self._lines, strict=True)):
            piece = self._pieces[index] if resident else listing.stream(*part)
            yield columns, listing.use(piece, last or not resident)
        if last:
            self._pieces = []


def linear_layer(site: Site, layer: Arrays, part: slice | None = None) -> Weights:
    """The weights of a LINEAR layer, or of some of its columns."""
    first, last = (0, len(layer["bias"])) if part is None else (part.start, part.stop)

    def pack(columns: slice) -> bytes:
        return linear_weights(site.listing.engine, layer, slice(first + columns.start, first + columns.stop))

    return Weights(site, pack, last - first, is_coded(layer))


def apply(
    site: Site,
    weights: Weights,
    x: OnChipTensor,
    y: OnChipTensor,
    spec: ops.QLinear,
    stays: tuple[bool, bool],
    add: bool = False,
) -> None:
    """LINEAR of rows; ``stays``: whether the weights are resident, and whether this is their last use."""
    for columns, ring in weights.uses(*stays):
        part = emit.columns_of(site.listing, y, columns)
        added = part if add else None
        emit.linear(site.listing, x, part, ring, spec.how, spec.table, add=added, coded=weights.coded)


def fits_ring(site: Site, *weights: Weights) -> bool:
    """Whether all these weights may stay in the ring together."""
    return sum(part.lines for part in weights) <= site.limits.resident_lines


def emit_patch(site: Site, group: networks.PatchGroup) -> None:
    """Patch embedding: load the position table first, then add the products of the patches to it."""
    listing, step = site.listing, group.embed
    spec, engine = step.operator, site.listing.engine
    constants = step.arrays()
    layer, table = {name: constants[name] for name in ("weight", "bias", "scale")}, constants["table"]
    stream = make_tensor(listing, "stream", "residual", spec.leading + spec.patches, spec.n, 2)
    line, lines = listing.parameters.add(rows_constants(engine, table)), emit.lines_of(listing, stream)
    stored = site.stored[step["x"].buffer]
    # In the hidden region: nothing else is there yet.
    patches = make_tensor(listing, "patches", "hidden", stored.rows, stored.width)
    _load_table(site, line, lines, stream.part(0, spec.leading))
    for first, rows in site.limits.token_blocks(stored.rows):
        _load_table(site, line + (spec.leading + first) * lines, lines, stream.part(spec.leading + first, rows))
        step_lines = stored.pitch // LINE_BYTES
        at = stored.line + first * step_lines
        emit.load(listing, stored.window, at, step_lines, patches.part(first, rows))
    weights = linear_layer(site, layer)
    parts = site.limits.token_blocks(spec.patches)
    stays = fits_ring(site, weights)
    as_linear = ops.QLinear(spec.patches, spec.k, spec.n, Finish("int16"), residual=True)
    for i, (first, rows) in enumerate(parts):
        y = stream.part(spec.leading + first, rows)
        apply(site, weights, patches.part(first, rows), y, as_linear, (stays, i == len(parts) - 1), add=True)
    site.homes[step["y"].buffer] = stream


def _load_table(site: Site, line: int, lines: int, rows: OnChipTensor) -> None:
    if rows.rows:
        emit.load(site.listing, "parameters", line, lines, rows)


def emit_norm(site: Site, group: networks.NormGroup, constants: OnChipTensor | None) -> None:
    """LayerNorm block by block; rows that are still sums of experts in two halves are settled before."""
    listing, step = site.listing, group.norm
    spec, x = step.operator, site.tensor(step["x"])
    y = make_tensor(listing, "norm", "input", spec.rows, spec.dim)
    for first, rows in site.limits.token_blocks(spec.rows):
        site.settle(x, first, rows)
        source, target = x.part(first, rows), y.part(first, rows)
        read = () if constants is None else (emit.rows_of(constants),)
        listing.append(
            "NORM",
            {"src": source.at, "dst": target.at} | ({} if constants is None else {"from": constants.at}),
            (emit.rows_of(source), *read),
            (emit.rows_of(target),),
            operands=dict(
                src_stride=source.stride,
                dst_stride=target.stride,
                rows=rows,
                width=spec.dim,
                epsilon=spec.epsilon,
                mul=spec.mul,
                shift=spec.shift,
                parameters=int(constants is not None),
                **emit.unused("from", "constants"),
            ),
        )
    _settle_others(site, site.homes[step["x"].buffer], x)
    site.homes[step["y"].buffer] = y


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


def load_constants(site: Site, content: bytes) -> OnChipTensor:
    """Bytes of the window `parameters`, loaded into the constants region."""
    listing = site.listing
    granules = emit.granules(listing, len(content))
    y = OnChipTensor(At(listing.buffer("constants", "constants", granules)), 1, len(content), 1, granules)
    emit.load(listing, "parameters", listing.parameters.add(content), 1, y)
    return y


def emit_mlp(site: Site, group: networks.MlpGroup) -> None:
    """Two layers block by block, hidden rows in two buffers in turn; the second adds to the residual in place."""
    listing, first, second = site.listing, group.first, group.second
    x, stream = site.tensor(first["x"]), site.tensor(second["residual"])
    site.settle_all(stream)
    up, down = linear_layer(site, first.arrays()), linear_layer(site, second.arrays())
    resident = fits_ring(site, up, down)
    row = emit.granules(listing, first.operator.n) * listing.engine.array_columns
    most = min(site.limits.accumulator_rows, site.limits.hidden // (2 * row))
    parts = site.limits.token_blocks(x.rows) if resident and most >= site.limits.block_rows else blocks(x.rows, most)
    pair = [make_tensor(listing, "mlp", "hidden", max(rows for _, rows in parts), first.operator.n) for _ in parts[:2]]
    for i, (at, rows) in enumerate(parts):
        last, hidden = i == len(parts) - 1, pair[i % 2].part(0, rows)
        apply(site, up, x.part(at, rows), hidden, first.operator, (resident, last))
        apply(site, down, hidden, stream.part(at, rows), second.operator, (resident, last), add=True)
    site.homes[second["y"].buffer] = stream
