"""Patches, LayerNorm and MLPs as words."""

from __future__ import annotations

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import Tensor, make_tensor
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.weights import linear_weights, norm_constants, rows_constants
from edgemtl.codegen.fpga.words import At, Piece
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import Array, Step
from edgemtl.schedule.tiling import BLOCK_ROWS, blocks

STREAM_FINISH = Finish("int16")


class Weights:
    """The weights of one layer in the parameters, brought into the ring for each use or once for all."""

    def __init__(self, site: Site, content: bytes) -> None:
        self._site = site
        self.line = site.listing.parameters.add(content)
        self.lines = len(content) // LINE_BYTES
        self._piece: Piece | None = None

    def use(self, held: bool, last: bool) -> dict[str, int]:
        """The ring's operands of a word; with ``held`` the weights stay until the ``last`` use."""
        if self._piece is None:
            self._piece = self._site.listing.stream(self.line, self.lines)
        piece, ends = self._piece, last or not held
        if ends:
            self._piece = None
        return self._site.listing.use(piece, ends)


def arrays(step: Step) -> tuple[Array, ...]:
    """The constants of a step."""
    return tuple(constant.array for constant in step.constants)


def fits_ring(site: Site, *weights: Weights) -> bool:
    """Whether weights may stay in the ring together."""
    return sum(part.lines for part in weights) <= site.limits.held_lines


def emit_patch(site: Site, group: networks.Patch) -> None:
    """Positions first, onto which the patches' products are added."""
    listing, step = site.listing, group.embed
    spec, engine = step.spec, site.listing.engine
    weight, bias, scale, table = arrays(step)
    stream = make_tensor(listing, "stream", "residual", spec.leading + spec.patches, spec.n, 2)
    content = rows_constants(engine, table)
    emit.load(listing, "parameters", listing.parameters.add(content), emit.lines_of(listing, stream), stream)
    patches = _patches(site, step)
    weights = Weights(site, linear_weights(engine, (weight, bias, scale)))
    parts = blocks(spec.patches, BLOCK_ROWS)
    held = fits_ring(site, weights)
    for i, (first, rows) in enumerate(parts):
        y = stream.part(spec.leading + first, rows)
        ring = weights.use(held, i == len(parts) - 1)
        emit.linear(listing, patches.part(first, rows), y, ring, STREAM_FINISH, False, add=y)
    site.homes[step.outputs[0].buffer] = stream


def _patches(site: Site, step: Step) -> Tensor:
    """The patches from memory, in the hidden region: nothing else is there yet."""
    listing, held = site.listing, site.stored[step.inputs[0].buffer]
    patches = make_tensor(listing, "patches", "hidden", held.rows, held.width)
    lines = held.pitch // LINE_BYTES
    for first, rows in blocks(held.rows, BLOCK_ROWS):
        emit.load(listing, held.window, held.line + first * lines, lines, patches.part(first, rows))
    return patches


def emit_norm(site: Site, group: networks.Norm, constants: Tensor | None) -> None:
    """LayerNorm block by block; where its rows are sums of experts still, they are made rows before."""
    listing, step = site.listing, group.norm
    spec, x = step.spec, site.tensor(step.inputs[0])
    y = make_tensor(listing, "norm", "input", spec.rows, spec.dim)
    for first, rows in blocks(spec.rows, BLOCK_ROWS):
        site.settle(x, first, rows)
        source, target = x.part(first, rows), y.part(first, rows)
        read = () if constants is None else (emit.rows_of(constants),)
        listing.word(
            "NORM",
            {"src": source.at, "dst": target.at, "from": target.at if constants is None else constants.at},
            (emit.rows_of(source), *read),
            (emit.rows_of(target),),
            src_stride=source.stride,
            dst_stride=target.stride,
            rows=rows,
            width=spec.dim,
            epsilon=spec.epsilon,
            mul=spec.mul,
            shift=spec.shift,
            parameters=int(constants is not None),
        )
    site.open.pop(x.at.buffer, None)
    site.homes[step.outputs[0].buffer] = y


def load_norm_constants(site: Site, group: networks.Norm) -> Tensor | None:
    """Halvings and offsets on chip; None where all are 0."""
    held = arrays(group.norm)
    if not any(part.any() for part in held):
        return None
    return load_constants(site, norm_constants(site.listing.engine, *held))


def load_constants(site: Site, content: bytes) -> Tensor:
    """Bytes of the parameters in the constants region."""
    listing = site.listing
    granules = emit.granules(listing, len(content))
    y = Tensor(At(listing.buffer("constants", "constants", granules)), 1, len(content), 1, granules)
    emit.load(listing, "parameters", listing.parameters.add(content), 1, y)
    return y


def emit_mlp(site: Site, group: networks.Mlp) -> None:
    """Two layers block by block, hidden rows in two buffers in turn; the second adds onto the residual in place."""
    listing, first, second = site.listing, group.first, group.second
    x, stream = site.tensor(first.inputs[0]), site.tensor(second.inputs[1])
    site.settle_all(stream)
    up = Weights(site, linear_weights(listing.engine, arrays(first)))
    down = Weights(site, linear_weights(listing.engine, arrays(second)))
    held = fits_ring(site, up, down)
    row = emit.granules(listing, first.spec.n) * listing.engine.array_columns
    most = min(site.limits.accumulator_rows, site.limits.hidden // (2 * row))
    parts = blocks(x.rows, min(most, BLOCK_ROWS) if held else most)
    pair = [make_tensor(listing, "mlp", "hidden", parts[0][1] + 1, first.spec.n) for _ in parts[:2]]
    for i, (at, rows) in enumerate(parts):
        last, hidden = i == len(parts) - 1, pair[i % 2].part(0, rows)
        ring = up.use(held, last)
        emit.linear(listing, x.part(at, rows), hidden, ring, first.spec.how, first.spec.table)
        y = stream.part(at, rows)
        emit.linear(listing, hidden, y, down.use(held, last), second.spec.how, second.spec.table, add=y)
    site.homes[second.outputs[0].buffer] = stream
