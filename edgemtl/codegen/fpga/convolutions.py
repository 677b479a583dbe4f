"""Convolutions of a head as instructions: rows of pixels are loaded, upsampled on chip, convolved, and stored again.

No image is on chip as a whole but the first, which LayerNorm leaves there. A block of output rows reads the rows around
it from a ring of rows, while the rows of the next block are prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.class_maps import class_tensors, classes_of, final_rows
from edgemtl.codegen.fpga.emit import OnChipTensor
from edgemtl.codegen.fpga.image_shapes import (
    ColumnPart,
    ImageShape,
    Shortage,
    channels_read,
    column_parts,
    dilation_of,
    granules,
    largest_block,
    taps_together,
    tiles_alike,
)
from edgemtl.codegen.fpga.instructions import At, OnChipBuffer
from edgemtl.codegen.fpga.layers import Weights, apply, fits_ring, linear_layer
from edgemtl.codegen.fpga.row_rings import RowRing
from edgemtl.codegen.fpga.site import Site, Stored
from edgemtl.codegen.fpga.streamed import store_rows
from edgemtl.codegen.fpga.weights import conv_weights, dense_kernel
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import BY_NAME, LINE_BYTES
from edgemtl.hw.spec import Engine
from edgemtl.operators import QConv2d

MOST_ENLARGED_ROWS = BY_NAME["ENLARGE"].places["rows"][0].high
"""Most rows that one instruction upsamples."""
MOST_COPIED_ROWS = BY_NAME["LOAD"].places["rows"][0].high
"""Most rows that one instruction copies."""


@dataclass(frozen=True)
class StoredImage:
    """An image in DRAM with ``width`` pixels in a row, of which a layer reads or writes those from ``column`` on."""

    stored: Stored
    width: int
    column: int


def image_runs(groups: Sequence[networks.Group], engine: Engine) -> dict[str, frozenset[int]]:
    """Pixels of rows, and of the parts that rows are cut into, of the images that groups read and write, by buffer."""
    runs: dict[str, frozenset[int]] = {}
    for group in groups:
        for buffer, pixels in _runs_of(group, engine):
            runs[buffer] = runs.get(buffer, frozenset()) | pixels
    return runs


def _runs_of(group: networks.Group, engine: Engine) -> Iterator[tuple[str, frozenset[int]]]:
    """Pixels of the rows, and of parts of them, that a group reads and writes, by buffer.

    Rows of classes are rows of pixels: each begins on a line.
    """
    match group:
        case networks.ImageGroup():
            conv, upsample = group.conv.operator, group.upsample
            source = {(conv if upsample is None else upsample.operator).width}
            parts = column_parts(conv, engine.accumulator_rows)
            if len(parts) > 1:
                source |= {run for part in parts for run in (part.source, part.conv.width)}
            yield group.source.buffer, frozenset(source)
            classified = isinstance(group, networks.ClassImageGroup)
            rows = {1} if classified else {conv.out_width} | {part.output for part in parts}
            yield group.result.buffer, frozenset(rows)
        case networks.ResizeGroup():
            operator = group.resize.operator
            yield group.resize["x"].buffer, frozenset({operator.width})
            yield group.resize["y"].buffer, frozenset({operator.out_width})
        case networks.ClassesGroup():
            yield group.classes["x"].buffer, frozenset({group.classes.operator.width})
            yield group.classes["y"].buffer, frozenset({1})


def emit_image(site: Site, group: networks.ImageGroup, on_chip: bool) -> None:
    """All instructions of one layer over an image; ``on_chip``: whether its whole source is on chip."""
    conv = _conv_layer(site, group.conv)
    pixels = None if group.pixels is None else linear_layer(site, group.pixels.arrays())
    target = _target(site, group)
    parts = column_parts(group.conv.operator, site.limits.accumulator_rows)
    if len(parts) > 1 and on_chip:
        needed, there = group.conv.operator.out_width, site.limits.accumulator_rows
        raise BudgetError("a row of an image that is on chip as a whole", needed, there, "store the image first")
    for part in parts:
        shape = _shape(site, group, part.conv, on_chip)
        high, low = _sources(site, group, shape, on_chip)
        _Writer(site, group, shape, high, low, conv, pixels, part, target).write()


def _conv_layer(site: Site, conv: networks.Of[QConv2d]) -> Weights:
    engine, layer, spec = site.listing.engine, conv.arrays(), conv.operator

    def pack(columns: slice) -> bytes:
        channels = channels_read(spec, columns, engine.array_columns)
        kernel = dense_kernel(layer["weight"], spec.groups, columns, channels)
        return conv_weights(engine, layer, kernel, taps_together(spec, kernel.shape[1], engine), columns)

    return Weights(site, pack, spec.cout, tiles_alike(spec, engine.array_columns))


def _target(site: Site, group: networks.ImageGroup) -> Stored:
    """Where results go: the buffer of the last step, in DRAM."""
    view = group.result
    size = granules(site.listing.engine, view.shape[-1], view.dtype) * site.listing.engine.array_columns
    pitch = site.row_pitch(view.buffer, size)
    return site.reserve(view.buffer, site.window_of(view), view.shape[0], view.shape[-1], view.dtype, pitch)


def _shape(site: Site, group: networks.ImageGroup, conv: QConv2d, on_chip: bool) -> ImageShape:
    """The largest block for which every memory has room. Raises BudgetError where not even one row fits."""
    pixels = None if group.pixels is None else group.pixels.operator
    classes = group.classes.operator if isinstance(group, networks.ClassImageGroup) else None
    layers = conv, pixels, group.upsample is not None, classes
    shape = largest_block(*layers, site.listing.engine, site.limits, on_chip)
    if isinstance(shape, Shortage):
        what = f"{group.conv.step.origin[0]}: {shape.what} of one row"
        raise BudgetError(what, shape.needed, shape.there, "allow more memory on chip, or take a board with more")
    return shape


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
        part: ColumnPart,
        target: Stored,
    ) -> None:
        self.site, self.group, self.shape, self.high, self.low = site, group, shape, high, low
        self.conv, self.pixels = conv, pixels
        self.resident = fits_ring(site, conv, *(() if pixels is None else (pixels,)))
        name = group.source.buffer
        first = (group.conv if group.upsample is None else group.upsample).operator
        self.source = None if name in site.homes else StoredImage(site.stored[name], first.width, part.source)
        self.loaded = self.upsampled = 0
        self.height = shape.conv.out_height
        self.blocks = range(0, self.height, shape.block)
        self.between = self._between()
        self.results = self._results()
        count = len(self.blocks[:2])
        self.classes = class_tensors(site, shape.classes, shape.class_rows, count) if shape.classes else []
        self.target = StoredImage(target, group.conv.operator.out_width, part.output)

    def _between(self) -> list[OnChipBuffer]:
        """What the convolution writes and the linear layer reads, a block in each in turn; none without one."""
        shape = self.shape
        if not shape.logits:
            return []
        size = shape.block * shape.conv.out_width * shape.result
        return [self.site.listing.buffer("pixels", "residual", size) for _ in self.blocks[:2]]

    def _results(self) -> RowRing:
        """The rows that are stored or compared."""
        wrap, width, pixel = self.shape.ending_wrap, self.shape.conv.out_width, self.shape.ending
        name = "logits" if self.shape.logits else "pixels"
        buffer = self.site.listing.buffer(name, "residual", wrap * width * pixel)
        return RowRing(At(buffer), wrap, width, pixel)

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

    def _fetch(self, index: int) -> None:
        """Fetch the rows of the source that block ``index`` needs and no earlier block did."""
        if self.source is None:
            return
        ring = self.high if self.low is None else self.low
        reach = self.shape.rows_before(index + 1)
        needed = reach if self.low is None else min(reach // 2 + 1, self.shape.conv.height // 2)
        y = self.loaded
        for piece in ring.pieces(y, needed):
            for part, line, step in _copies(self.site, self.source, piece, y, ring.stride):
                emit.load(self.site.listing, self.source.stored.window, line, step, part, (self.source.stored.buffer,))
            y += piece.rows
        self.loaded = max(self.loaded, needed)

    def _upsample(self, index: int) -> None:
        """Upsample the rows that block ``index`` reads and no earlier block did."""
        if self.low is None:
            return
        reach = self.shape.rows_before(index + 1)
        while self.upsampled < reach:
            last = min(reach, self.upsampled + MOST_ENLARGED_ROWS)
            self._enlarge(self.low, self.upsampled, last)
            self.upsampled = last

    def _enlarge(self, low: RowRing, first: int, last: int) -> None:
        """Upsample the rows ``first`` to ``last``, the latter excluded."""
        high, height = self.high, self.shape.conv.height // 2
        reads = low.touched(max((first - 1) // 2, 0), min(last // 2 + 1, height))
        self.site.listing.append(
            "ENLARGE",
            {"src": low.at, "dst": high.at},
            reads,
            high.touched(first, last),
            operands=dict(
                src_wrap=low.wrap,
                width=low.width,
                height=height,
                stride=low.stride,
                first=first,
                rows=last - first,
                dst_wrap=high.wrap,
                factor=2,
                nearest=0,
                wide=0,
            ),
        )

    def _compute(self, index: int, first: int, rows: int) -> None:
        last = index == len(self.blocks) - 1
        at = self.results.row_at(first)
        result = self._convolve(At(self.between[index % 2]) if self.between else at, first, rows, last)
        if self.pixels is not None and self.group.pixels is not None:
            linear = self.group.pixels.operator
            size = 2 if linear.how.dtype == "int16" else 1
            y = OnChipTensor(at, result.rows, linear.n, size, self.shape.logits)
            apply(self.site, self.pixels, result, y, linear, (self.resident, last))
            result = y
        if self.shape.classes is None:
            self._store(result, first, rows)
        else:
            part = final_rows(self.shape.classes, first, rows)
            classes = self.classes[index % 2].part(0, part[1])
            classes_of(self.site, self.results, self.shape.classes, part[0], classes)
            store_rows(self.site, self.target.stored, part[0], classes)

    def _convolve(self, at: At, first: int, rows: int, last: bool) -> OnChipTensor:
        conv, shape = self.shape.conv, self.shape
        y = OnChipTensor(at, rows * conv.out_width, conv.cout, 2 if conv.how.dtype == "int16" else 1, shape.result)
        for columns, ring in self.conv.uses(self.resident, last):
            part = emit.columns_of(self.site.listing, y, columns)
            channels = channels_read(conv, columns, self.site.listing.engine.array_columns)
            self._convolve_part(part, channels, first, rows, ring)
        return y

    def _convolve_part(self, y: OnChipTensor, channels: slice, first: int, rows: int, ring: dict[str, int]) -> None:
        """Some output channels of ``rows`` output rows from ``first`` on, of the input channels that they read."""
        conv, granule = self.shape.conv, self.site.listing.engine.array_columns
        tiles = emit.granules(self.site.listing, y.width) * y.itemsize
        self.site.listing.append(
            "CONV",
            {"src": self.high.at.on(channels.start // granule), "dst": y.at},
            self.high.touched(*self.shape.rows_of(first, rows)),
            (emit.rows_of(y, tiles),),
            operands=dict(
                wrap=self.high.wrap,
                width=conv.width,
                height=conv.height,
                first=first,
                rows=rows,
                k=channels.stop - channels.start,
                n=y.width,
                src_stride=self.high.stride,
                dst_stride=y.stride,
                pad=conv.zero,
                kernel_height=conv.kernel[0],
                kernel_width=conv.kernel[1],
                stride=self.shape.stride,
                dilation=dilation_of(conv),
                top=conv.pad[0],
                left=conv.pad[1],
                out_width=conv.out_width,
                **ring,
                **emit.finish_operands(conv.how, conv.table),
            ),
        )

    def _store(self, y: OnChipTensor, first: int, rows: int) -> None:
        row = self.shape.conv.out_width * y.stride
        whole = OnChipTensor(y.at, rows, row, 1, row)
        for part, line, step in _copies(self.site, self.target, whole, first, y.stride):
            emit.store(self.site.listing, self.target.stored.window, line, step, part, (self.target.stored.buffer,))


def _copies(
    site: Site, image: StoredImage, rows: OnChipTensor, first: int, pixel: int
) -> Iterator[tuple[OnChipTensor, int, int]]:
    """What LOAD or STORE copies of image rows from row ``first`` on: rows on chip, their first line, lines of each.

    That is rows of pixels of ``pixel`` granules; or pixel by pixel where each pixel begins on a line.
    """
    size, pitch, width = pixel * site.listing.engine.array_columns, image.stored.pitch, rows.stride // pixel
    line = image.stored.line + (first * image.width + image.column) * pitch // LINE_BYTES
    if pitch == size:
        yield rows, line, image.width * pitch // LINE_BYTES
        return
    lines = pitch // LINE_BYTES
    most = MOST_COPIED_ROWS // width if width == image.width else 1
    for y in range(0, rows.rows, most):
        count = min(most, rows.rows - y)
        pixels = OnChipTensor(rows.at.on(y * rows.stride), count * width, pixel, 1, pixel)
        yield pixels, line + y * image.width * lines, lines
