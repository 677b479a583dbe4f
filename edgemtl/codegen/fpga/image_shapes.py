"""How many rows of an image a block has, and what its parts take on chip; whether there is room, selection asks too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgemtl.hw.geometry import taps_in_tile
from edgemtl.hw.spec import Engine
from edgemtl.operators import QClasses, QConv2d, QLinear
from edgemtl.schedule.tiling import TilingLimits, blocks

MOST_BLOCK_ROWS = 62
"""Most output rows of a block: an operand of 6 bits counts them and the row after them."""


@dataclass(frozen=True)
class Shortage:
    """What one row of a layer over an image needs and a memory does not have, in bytes."""

    what: str
    needed: int
    there: int


@dataclass(frozen=True)
class ImageShape:
    """Sizes of one layer over an image: granules of a pixel in source, result and logits; ``block``: rows at once.

    classes: what its image ends in, if that is the class of each pixel.
    """

    conv: QConv2d
    upsample: bool
    source: int
    result: int
    logits: int
    block: int
    classes: QClasses | None = None

    @property
    def stride(self) -> int:
        """Rows and pixels of the source from one of the output to the next."""
        return stride_of(self.conv)

    @property
    def two_blocks(self) -> int:
        """Rows of the source that a block reads, and those prepared meanwhile for the next block."""
        return (2 * self.block - 1) * self.stride + reach(self.conv)

    @property
    def low_wrap(self) -> int:
        """Rows of the image before upsampling that two blocks need."""
        return min(self.two_blocks // 2 + 3, self.conv.height // 2)

    @property
    def high_wrap(self) -> int:
        """Rows of the source that are on chip at once."""
        return min(self.two_blocks, self.conv.height)

    @property
    def ending(self) -> int:
        """Granules of a pixel of the image it ends with, before classes."""
        return self.logits or self.result

    @property
    def ending_wrap(self) -> int:
        """Rows of that image that are on chip at once: a block that is computed, and one that is stored or compared.

        Classes of an upsampled image also read the last row of the block before, so that there are three.
        """
        together = 3 if self.classes is not None and self.classes.enlarge else 2
        return min(together, -(-self.conv.out_height // self.block)) * self.block

    @property
    def class_rows(self) -> int:
        """The most rows of classes that a block of rows makes final."""
        classes = self.classes
        return 0 if classes is None else min(classes.factor * (self.block + 1) - 1, classes.out_height)

    def rows_before(self, blocks: int) -> int:
        """Rows of the source that the first ``blocks`` blocks read."""
        last = min(blocks * self.block, self.conv.out_height) - 1
        return min(max(last * self.stride - self.conv.pad[0] + reach(self.conv), 0), self.conv.height)

    def rows_of(self, first: int, rows: int) -> tuple[int, int]:
        """The rows of the source between which ``rows`` output rows from ``first`` on read, the latter excluded."""
        top = first * self.stride - self.conv.pad[0]
        last = min(top + (rows - 1) * self.stride + reach(self.conv), self.conv.height)
        return max(top, 0), max(last, 0)

    def shortage(self, engine: Engine, limits: TilingLimits, on_chip: bool) -> Shortage | None:
        """The first memory that is too small; None where there is room. ``on_chip``: its whole source is there."""
        q, conv = engine.array_columns, self.conv
        between = 2 * self.block * self.result if self.logits else 0
        results = (between + self.ending_wrap * self.ending) * conv.out_width * q
        if self.classes is not None:
            results += 2 * self.class_rows * granules(engine, self.classes.out_width, "uint8") * q
        needs = [Shortage("results, in memory 'residual',", results, limits.images)]
        if not on_chip or self.upsample:
            rows = self.high_wrap * conv.width * self.source * q
            needs.append(Shortage("rows, in memory 'hidden',", rows, limits.hidden))
        if self.upsample:
            rows = self.low_wrap * conv.width // 2 * self.source * q
            needs.append(Shortage("rows to enlarge, in memory 'input',", rows, limits.rows))
        return next((need for need in needs if need.needed > need.there), None)


@dataclass(frozen=True)
class ColumnPart:
    """A convolution of some columns of an image: its first pixel of a row of the source, and of the output."""

    conv: QConv2d
    source: int
    output: int


def column_parts(conv: QConv2d, most: int) -> list[ColumnPart]:
    """The convolution as the fewest of at most ``most`` pixels of an output row, side by side; usually itself."""
    if conv.out_width <= most:
        return [ColumnPart(conv, 0, 0)]
    return [_column_part(conv, first, width) for first, width in blocks(conv.out_width, most)]


def _column_part(conv: QConv2d, output: int, width: int) -> ColumnPart:
    """The pixels of the source around ``width`` pixels of the output from ``output`` on.

    Its padding on the left is what the first of them reads before the image.
    """
    stride, wide = max(strides(conv)), (conv.kernel[1] - 1) * max(dilations(conv)) + 1
    begin = output * stride - conv.pad[1]
    source = min(max(begin, 0), conv.width - 1)
    end = min(begin + (width - 1) * stride + wide, conv.width)
    top, _, bottom, right = conv.pad
    pad = (top, source - begin, bottom, right)
    part = replace(conv, width=max(end - source, 1), out_width=width, pad=pad)
    return ColumnPart(part, source, output)


def largest_block(
    conv: QConv2d,
    pixels: QLinear | None,
    upsample: bool,
    classes: QClasses | None,
    engine: Engine,
    limits: TilingLimits,
    on_chip: bool,
) -> ImageShape | Shortage:
    """The largest block for which every memory has room, or what a single row lacks.

    conv: one of `column_parts`, so that a row of its output has at most as many pixels as the accumulators.
    """
    logits = 0 if pixels is None else granules(engine, pixels.n, pixels.how.dtype)
    source, result = granules(engine, conv.cin, "int8"), granules(engine, conv.cout, conv.how.dtype)
    counted = MOST_BLOCK_ROWS if classes is None else MOST_BLOCK_ROWS // classes.factor
    most = min(limits.accumulator_rows // conv.out_width, counted, conv.out_height)
    for rows in range(most, 0, -1):
        shape = ImageShape(conv, upsample, source, result, logits, rows, classes)
        missing = shape.shortage(engine, limits, on_chip)
        if missing is None:
            return shape
    assert missing is not None
    return missing


def granules(engine: Engine, channels: int, dtype: str) -> int:
    """Granules of a pixel: a tile of 16-bit columns takes two."""
    return -(-channels // engine.array_columns) * (2 if dtype == "int16" else 1)


def taps_together(conv: QConv2d, channels: int, engine: Engine) -> int:
    """Horizontal taps of a convolution that share a tile, where it reads ``channels`` of each pixel."""
    geometry = channels, conv.kernel[1], stride_of(conv), dilation_of(conv)
    return taps_in_tile(engine.array_rows, engine.array_columns, *geometry)


def channels_read(conv: QConv2d, columns: slice, granule: int) -> slice:
    """The input channels that output channels ``columns`` read: those of their groups, from a whole granule on."""
    cin, cout = conv.cin // conv.groups, conv.cout // conv.groups
    first = columns.start // cout * cin
    return slice(first // granule * granule, -(-columns.stop // cout) * cin)


def tiles_alike(conv: QConv2d, granule: int) -> int:
    """Tiles of neighbouring output channels that read the same input channels: those of a group, at least one."""
    cout = conv.cout // conv.groups
    if conv.groups == 1:
        return -(-cout // granule)
    return cout // granule if cout % granule == 0 else 1


def most_channels(conv: QConv2d, granule: int) -> int:
    """The most input channels that one tile of output channels reads."""
    tiles = (slice(at, min(at + granule, conv.cout)) for at in range(0, conv.cout, granule))
    read = (channels_read(conv, tile, granule) for tile in tiles)
    return max(len(range(conv.cin)[channels]) for channels in read)


def reach(conv: QConv2d) -> int:
    """Rows of the source that one output row reaches over."""
    return (conv.kernel[0] - 1) * max(dilations(conv)) + 1


def stride_of(conv: QConv2d) -> int:
    """The stride of the axes that have more than one output; a convolution may have only one."""
    (stride,) = strides(conv)
    return stride


def dilation_of(conv: QConv2d) -> int:
    """The dilation of the axes that have more than one tap; a convolution may have only one."""
    (dilation,) = dilations(conv)
    return dilation


def strides(conv: QConv2d) -> set[int]:
    """Every stride that matters."""
    sizes = (conv.out_height, conv.out_width)
    return {stride for stride, size in zip(conv.stride, sizes, strict=True) if size > 1} or {1}


def dilations(conv: QConv2d) -> set[int]:
    """Every dilation that matters."""
    return {dilation for dilation, taps in zip(conv.dilation, conv.kernel, strict=True) if taps > 1} or {1}
