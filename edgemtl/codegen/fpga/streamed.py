"""Rows that the vector unit works on block by block: from chip or DRAM in any layout, to DRAM again.

Blocks of what is in DRAM lie in two buffers in turn, so that the next one is loaded while this one is worked on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgemtl.codegen.fpga import emit
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.rows import Part, one_ahead
from edgemtl.codegen.fpga.site import Site, Stored
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import blocks

BLOCK_BYTES = 32 * 1024
"""Most bytes of a block: long beside the latency of DRAM, and small beside the memories."""
REGION_PARTS = 4
"""A block takes at most this fraction (one part of so many) of the smallest memory that blocks lie in."""
MOST_ROWS = 2047
"""Most rows of a LOAD, a STORE and a MEAN: the operand has 11 bits."""
REGIONS = ("hidden", "input")
"""Where the first and the second operand are loaded; results are in `residual`."""

Work = Callable[[Sequence[OnChipTensor], OnChipTensor], None]
"""Appends the instructions of a block: from operands to results."""


@dataclass(frozen=True)
class Source:
    """Rows of a buffer: on chip, or loaded block by block into ``pair`` in turn."""

    site: Site
    view: View
    home: OnChipTensor | None
    pair: tuple[OnChipTensor, ...]

    def block(self, index: int, first: int, rows: int) -> OnChipTensor:
        """Rows from ``first`` on, on chip."""
        if self.home is not None:
            return self.home.part(first, rows)
        block = self.pair[index % len(self.pair)].part(0, rows)
        load_rows(self.site, self.site.stored[self.view.buffer], first, block)
        return block


def stream(site: Site, operands: Sequence[View], y: View, width: int, most: int, work: Work) -> None:
    """Blocks of at most ``most`` rows of operands through ``work`` to the result ``y`` in rows of ``width``.

    All have as many rows. The result is stored where its readers find it.
    """
    stored = site.reserve_rows(y, site.window_of(y), width)
    parts = _parts(site, [*operands, y], stored.rows, most)
    largest = max(count for _, count in parts)
    results = [make_tensor(site.listing, "results", "residual", largest, width, y.itemsize) for _ in parts[:2]]
    sources = [_source(site, view, REGIONS[index % 2], stored.rows, parts) for index, view in enumerate(operands)]
    for index, ((first, count), loaded) in enumerate(_loaded(sources, parts)):
        result = results[index % 2].part(0, count)
        work(loaded, result)
        store_rows(site, stored, first, result)


def stream_in(site: Site, x: View, width: int, most: int) -> Iterator[tuple[int, OnChipTensor]]:
    """Blocks of at most ``most`` rows of ``width``, each with its first row."""
    parts = _parts(site, [x], x.size // width, most)
    source = _source(site, x, REGIONS[0], x.size // width, parts)
    for (first, _), (block,) in _loaded([source], parts):
        yield first, block


def _loaded(sources: Sequence[Source], parts: Sequence[Part]) -> Iterator[tuple[Part, list[OnChipTensor]]]:
    """Each block with its operands, loaded while the block before is worked on."""
    numbers = {part: index for index, part in enumerate(parts)}
    return one_ahead(parts, lambda part: [source.block(numbers[part], *part) for source in sources])


def _parts(site: Site, views: Sequence[View], rows: int, most: int) -> list[Part]:
    """Blocks that fit, and of which each begins on a line wherever it is in DRAM."""
    sizes = [row_bytes(site, view, view.size // rows) for view in views]
    step = max((line_rows(site.stored[view.buffer]) for view in views if view.buffer in site.stored), default=1)
    fitting = block_limit(site) // (max(sizes) * -(-len(views) // 2))
    units = max(min(fitting, most) // step, 1)
    return [(a * step, min((a + n) * step, rows) - a * step) for a, n in blocks(-(-rows // step), units)]


def block_limit(site: Site) -> int:
    """Bytes that blocks may take: of the smallest region a part, as there are two of each and others beside them."""
    limits = site.limits
    return min(BLOCK_BYTES, min(limits.hidden, limits.rows, limits.images) // REGION_PARTS)


def row_bytes(site: Site, view: View, width: int) -> int:
    """Bytes of a row on chip."""
    return emit.granules(site.listing, width) * site.listing.engine.array_columns * view.itemsize


def line_rows(stored: Stored) -> int:
    """Every so many rows begin on a line in DRAM."""
    return LINE_BYTES // math.gcd(stored.pitch, LINE_BYTES)


def _source(site: Site, view: View, region: str, rows: int, parts: Sequence[Part]) -> Source:
    home = site.homes.get(view.buffer)
    if home is not None:
        site.settle_all(home)
        return Source(site, view, home, ())
    largest = max(count for _, count in parts)
    pair = (
        make_tensor(site.listing, view.buffer, region, largest, view.size // rows, view.itemsize) for _ in parts[:2]
    )
    return Source(site, view, None, tuple(pair))


def load_rows(site: Site, stored: Stored, first: int, block: OnChipTensor) -> None:
    """LOAD rows from ``first`` on, which begins a line, in the layout of the buffer."""
    for line, step, part in _copies(site, stored, first, block):
        emit.load(site.listing, stored.window, line, step, part, (stored.buffer,))


def store_rows(site: Site, stored: Stored, first: int, block: OnChipTensor) -> None:
    """STORE rows from ``first`` on, which begins a line, in the layout of the buffer."""
    for line, step, part in _copies(site, stored, first, block):
        emit.store(site.listing, stored.window, line, step, part, (stored.buffer,))


def _copies(site: Site, stored: Stored, first: int, block: OnChipTensor) -> Iterator[tuple[int, int, OnChipTensor]]:
    """What a LOAD or STORE moves at once: the line, lines from row to row, rows. Without gaps all are one row."""
    line, granule = stored.line + first * stored.pitch // LINE_BYTES, site.listing.engine.array_columns
    if stored.pitch == block.stride * granule:
        size = block.rows * block.stride
        yield line, -(-size * granule // LINE_BYTES), OnChipTensor(block.at, 1, size, 1, size)
        return
    step = stored.pitch // LINE_BYTES
    for at in range(0, block.rows, MOST_ROWS):
        yield line + at * step, step, block.part(at, min(MOST_ROWS, block.rows - at))
