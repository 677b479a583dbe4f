"""Convolutions of a head as instructions: rows of pixels are loaded, upsampled on chip, convolved, and stored again.

No image is on chip as a whole but the first, which LayerNorm leaves there. A block of output rows reads the rows around
it from a ring of rows, while the rows of the next block are prepared.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor
from edgemtl.codegen.fpga.instructions import At, OnChipBuffer, RowRange
from edgemtl.codegen.fpga.layers import Weights, apply, fits_ring, linear_layer
from edgemtl.codegen.fpga.site import Site, Stored
from edgemtl.codegen.fpga.weights import Arrays, conv_weights
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.operators import QConv2d, QLinear

MOST_BLOCK_ROWS = 62
"""Most rows of a block: an operand of 6 bits counts them and the row after them, which the first block upsamples."""


@dataclass(frozen=True)
class RowRing:
    """A ring of image rows on chip: row y lies at row y modulo ``wrap``; ``width`` pixels of ``stride`` granules."""

    at: At
    wrap: int
    width: int
    stride: int

    @property
    def row(self) -> int:
        """Granules of a row."""
        return self.width * self.stride

    def pieces(self, first: int, last: int) -> list[OnChipTensor]:
        """Rows ``first`` to ``last``, the latter excluded, as one tensor, or two where they wrap around."""
        pieces, y = [], first
        while y < last:
            count = min(last - y, self.wrap - y % self.wrap)
            pieces.append(OnChipTensor(self.at.on(y % self.wrap * self.row), count, self.row, 1, self.row))
            y += count
        return pieces

    def touched(self, first: int, last: int) -> tuple[RowRange, ...]:
        """The same rows as what an instruction reads or writes."""
        return tuple(emit.rows_of(piece) for piece in self.pieces(first, last))


@dataclass(frozen=True)
class ImageShape:
    """Sizes of one layer over an image: granules of a pixel in source, result and logits; ``block``: rows at once."""

    conv: QConv2d
    pixels: QLinear | None
    upsample: bool
    source: int
    result: int
    logits: int
    block: int

    @property
    def low_wrap(self) -> int:
        """Rows of the image before upsampling that two blocks need."""
        return min(self.block + 4, self.conv.height // 2)

    @property
    def high_wrap(self) -> int:
        """Rows that a block reads, and those prepared meanwhile for the next block."""
        return min(2 * self.block + 2, self.conv.height)


def emit_image(site: Site, group: networks.ImageGroup, on_chip: bool) -> None:
    """All instructions of one layer over an image; ``on_chip``: whether its whole source is on chip."""
    shape = _shape(site, group, on_chip)
    high, low = _sources(site, group, shape, on_chip)
    conv = _conv_layer(site, group.conv.arrays())
    pixels = None if group.pixels is None else linear_layer(site, group.pixels.arrays())
    writer = _Writer(site, group, shape, high, low, conv, pixels)
    writer.write()


def _conv_layer(site: Site, layer: Arrays) -> Weights:
    def pack(columns: slice) -> bytes:
        return conv_weights(site.listing.engine, layer, columns)

    return Weights(site, pack, len(layer["weight"]))


def _shape(site: Site, group: networks.ImageGroup, on_chip: bool) -> ImageShape:
    """The largest block for which every memory has room. Raises BudgetError where not even one row fits."""
    listing, conv = site.listing, group.conv.operator
    pixels = None if group.pixels is None else group.pixels.operator
    source, result = emit.granules(listing, conv.cin), _granules(site, conv.cout, conv.how.dtype)
    logits = 0 if pixels is None else _granules(site, pixels.n, pixels.how.dtype)
    fixed = (conv, pixels, group.upsample is not None, source, result, logits)
    most = min(site.limits.accumulator_rows // conv.width, MOST_BLOCK_ROWS, conv.height)
    missing = None
    for rows in range(most, 0, -1):
        shape = ImageShape(*fixed, rows)
        missing = _missing(site, shape, on_chip)
        if missing is None:
            return shape
    assert missing is not None
    what, needed, there = missing
    hint = "allow more memory on chip, or take a board with more"
    raise BudgetError(f"{group.conv.step.origin[0]}: {what} of one row", needed, there, hint)


def _granules(site: Site, channels: int, dtype: str) -> int:
    return emit.granules(site.listing, channels) * (2 if dtype == "int16" else 1)


def _missing(site: Site, shape: ImageShape, on_chip: bool) -> tuple[str, int, int] | None:
    """What does not fit, the bytes it needs and the bytes there are; None where everything fits."""
    q, width = site.listing.engine.array_columns, shape.conv.width
    needs = [
        (
            "results, in memory 'residual',",
            2 * shape.block * width * (shape.result + shape.logits) * q,
            site.limits.images,
        )
    ]
    if not on_chip or shape.upsample:
        needs.append(("rows, in memory 'hidden',", shape.high_wrap * width * shape.source * q, site.limits.hidden))
    if shape.upsample:
        needs.append(
            (
                "rows to enlarge, in memory 'input',",
                shape.low_wrap * width // 2 * shape.source * q,
                site.limits.rows,
            )
        )
    return next((need for need in needs if need[1] > need[2]), None)


def _sources(
    site: Site, group: networks.ImageGroup, shape: ImageShape, on_chip: bool
) -> tuple[RowRing, RowRing | None]:
    """The rows that the convolution reads, and the rows before upsampling if there is one."""
    listing, conv = site.listing, shape.conv
    whole = None
    if on_chip:
        home = site.homes[group.source.buffer]
        first = (group.conv if group.upsample is None else group.upsample).operator
        whole = RowRing(home.at, first.height, first.width, home.stride)
        if not shape.upsample:
            return whole, None
    size = shape.high_wrap * conv.width * shape.source
    high = RowRing(At(listing.buffer("rows", "hidden", size)), shape.high_wrap, conv.width, shape.source)
    if not shape.upsample:
        return high, None
    size = shape.low_wrap * conv.width // 2 * shape.source
    low = RowRing(At(listing.buffer("low rows", "input", size)), shape.low_wrap, conv.width // 2, shape.source)
    return high, whole or low


class _Writer:
    """Writes the instructions of one layer over an image."""

    def __init__(
        self,
        site: Site,
        group: networks.ImageGroup,
        shape: ImageShape,
        high: RowRing,
        low: RowRing | None,
        conv: Weights,
        pixels: Weights | None,
    ) -> None:
        self.site, self.group, self.shape, self.high, self.low = site, group, shape, high, low
        self.conv, self.pixels = conv, pixels
        self.resident = fits_ring(site, conv, *(() if pixels is None else (pixels,)))
        name = group.source.buffer
        self.source = None if name in site.homes else site.stored[name]
        self.loaded = self.upsampled = 0
        self.height = shape.conv.height
        self.blocks = range(0, self.height, shape.block)
        self.buffers = self._buffers()
        self.target = self._target()

    def _buffers(self) -> list[tuple[OnChipBuffer, OnChipBuffer | None]]:
        size = self.shape.block * self.shape.conv.width
        make = self.site.listing.buffer
        return [
            (
                make("pixels", "residual", size * self.shape.result),
                make("logits", "residual", size * self.shape.logits) if self.shape.logits else None,
            )
            for _ in self.blocks[:2]
        ]

    def _target(self) -> Stored:
        """Where results go: the buffer of the last step, in DRAM."""
        step = self.group.conv if self.group.pixels is None else self.group.pixels
        view, shape = step["y"], self.shape
        size = (shape.logits or shape.result) * self.site.listing.engine.array_columns
        window = "output" if view.buffer in self.site.crossing.outgoing else "scratch"
        pixels = self.height * shape.conv.width
        return self.site.reserve(view.buffer, window, pixels, view.shape[-1], view.dtype, size)

    def write(self) -> None:
        """Block after block; the rows of the next block are fetched and upsampled before this one is computed."""
        # Rows to upsample are fetched a block earlier than rows that are convolved as they are.
        ahead = 1 if self.low is None else 2
        for index in range(ahead):
            self._fetch(index)
        self._upsample(0)
        for index, first in enumerate(self.blocks):
            self._upsample(index + 1)
            self._fetch(index + ahead)
            rows = min(self.shape.block, self.height - first)
            self._compute(index, first, rows)

    def _reach(self, index: int) -> int:
        """Rows of the image that block ``index`` and those before it read."""
        return min((index + 1) * self.shape.block + 1, self.height)

    def _fetch(self, index: int) -> None:
        """Fetch the rows of the source that block ``index`` needs and no earlier block did."""
        if self.source is None:
            return
        ring = self.high if self.low is None else self.low
        reach = self._reach(index)
        needed = reach if self.low is None else min(reach // 2 + 1, self.height // 2)
        line_row = ring.row * self.site.listing.engine.array_columns // LINE_BYTES
        y = self.loaded
        for piece in ring.pieces(y, needed):
            line = self.source.line + y * line_row
            emit.load(self.site.listing, self.source.window, line, line_row, piece, (self.source.buffer,))
            y += piece.rows
        self.loaded = max(self.loaded, needed)

    def _upsample(self, index: int) -> None:
        """Upsample the rows that block ``index`` reads and no earlier block did."""
        if self.low is None:
            return
        reach = self._reach(index)
        if reach <= self.upsampled:
            return
        first, low, high = self.upsampled, self.low, self.high
        reads = low.touched(max((first - 1) // 2, 0), min(reach // 2 + 1, self.height // 2))
        self.site.listing.append(
            "ENLARGE",
            {"src": low.at, "dst": high.at},
            reads,
            high.touched(first, reach),
            operands=dict(
                src_wrap=low.wrap,
                width=low.width,
                height=self.height // 2,
                stride=low.stride,
                first=first,
                rows=reach - first,
                dst_wrap=high.wrap,
                factor=2,
                nearest=0,
                wide=0,
            ),
        )
        self.upsampled = reach

    def _compute(self, index: int, first: int, rows: int) -> None:
        last = index == len(self.blocks) - 1
        pixels, logits = self.buffers[index % 2]
        result = self._convolve(At(pixels), first, rows, last)
        if self.pixels is not None and logits is not None and self.group.pixels is not None:
            linear = self.group.pixels.operator
            size = 2 if linear.how.dtype == "int16" else 1
            y = OnChipTensor(At(logits), result.rows, linear.n, size, self.shape.logits)
            apply(self.site, self.pixels, result, y, linear, (self.resident, last))
            result = y
        self._store(result, first, rows)

    def _convolve(self, at: At, first: int, rows: int, last: bool) -> OnChipTensor:
        conv, shape = self.shape.conv, self.shape
        y = OnChipTensor(at, rows * conv.width, conv.cout, 2 if conv.how.dtype == "int16" else 1, shape.result)
        for columns, ring in self.conv.uses(self.resident, last):
            part = emit.columns_of(self.site.listing, y, columns)
            self._convolve_part(part, first, rows, ring)
        return y

    def _convolve_part(self, y: OnChipTensor, first: int, rows: int, ring: dict[str, int]) -> None:
        conv = self.shape.conv
        tiles = emit.granules(self.site.listing, y.width) * y.itemsize
        self.site.listing.append(
            "CONV",
            {"src": self.high.at, "dst": y.at},
            self.high.touched(max(first - 1, 0), min(first + rows + 1, self.height)),
            (emit.rows_of(y, tiles),),
            operands=dict(
                wrap=self.high.wrap,
                width=conv.width,
                height=conv.height,
                first=first,
                rows=rows,
                k=conv.cin,
                n=y.width,
                src_stride=self.high.stride,
                dst_stride=y.stride,
                pad=conv.zero,
                **ring,
                **emit.finish_operands(conv.how, conv.table),
            ),
        )

    def _store(self, y: OnChipTensor, first: int, rows: int) -> None:
        width = self.shape.conv.width
        row = width * y.stride
        whole = OnChipTensor(y.at, rows, row, 1, row)
        line_row = row * self.site.listing.engine.array_columns // LINE_BYTES
        line = self.target.line + first * line_row
        emit.store(self.site.listing, self.target.window, line, line_row, whole, (self.target.buffer,))
