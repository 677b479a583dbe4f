"""The weights of layers in the ring, LINEAR instructions, and constants on chip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgemtl import operators as ops
from edgemtl.codegen.fpga import emit
from edgemtl.codegen.fpga.emit import OnChipTensor
from edgemtl.codegen.fpga.instructions import At, Piece
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.weights import Arrays, is_coded, linear_weights
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.schedule.tiling import blocks

RING_PARTS = 8
"""The weights of one instruction take at most this fraction (one part of so many) of the ring."""


class Weights:
    """The weights of one layer in the window `parameters`, fetched into the ring once, or again for each use.

    They are split by columns: an instruction occupies its part of the ring until it ends, while the following weights
    are fetched.
    """

    def __init__(
        self, site: Site, pack: Callable[[slice], bytes], width: int, together: int | None = None, coded: bool = False
    ) -> None:
        """``pack``: the bytes of some columns; ``together``: the tiles of columns that share an instruction at most."""
        self._site, self.coded = site, coded
        most = -(-width // site.listing.engine.array_columns) if together is None else together
        self.columns = self._cut(width, most)
        contents = [pack(part) for part in self.columns]
        count = -(-max(map(len, contents)) // (site.limits.ring_lines * LINE_BYTES // RING_PARTS))
        if min(count, most) > 1:
            self.columns = self._cut(width, max(most // count, 1))
            contents = [pack(part) for part in self.columns]
        self._lines = [(site.listing.parameters.add(c), len(c) // LINE_BYTES) for c in contents]
        self._pieces: list[Piece] = []

    def _cut(self, width: int, most: int) -> list[slice]:
        """The columns in whole tiles, at most ``most`` at once."""
        wide = self._site.listing.engine.array_columns
        return [slice(a * wide, min((a + n) * wide, width)) for a, n in blocks(-(-width // wide), most)]

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

    return Weights(site, pack, last - first, coded=is_coded(layer))


def apply(
    site: Site,
    weights: Weights,
    x: OnChipTensor,
    y: OnChipTensor,
    spec: ops.QLinear,
    stays: tuple[bool, bool],
    add: OnChipTensor | None = None,
) -> None:
    """LINEAR of rows; ``stays``: whether the weights are resident, and whether this is their last use.

    ``add``: the residual, laid out as ``y``.
    """
    for columns, ring in weights.uses(*stays):
        part = emit.columns_of(site.listing, y, columns)
        added = None if add is None else emit.columns_of(site.listing, add, columns)
        emit.linear(site.listing, x, part, ring, spec.how, spec.table, add=added, coded=weights.coded)


def fits_ring(site: Site, *weights: Weights) -> bool:
    """Whether all these weights may stay in the ring together."""
    return sum(part.lines for part in weights) <= site.limits.resident_lines


def load_constants(site: Site, content: bytes) -> OnChipTensor:
    """Bytes of the window `parameters`, loaded into the constants region."""
    listing = site.listing
    granules = emit.granules(listing, len(content))
    y = OnChipTensor(At(listing.buffer("constants", "constants", granules)), 1, len(content), 1, granules)
    emit.load(listing, "parameters", listing.parameters.add(content), 1, y)
    return y
