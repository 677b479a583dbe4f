"""One function for each kind of instruction: its operands, and which rows of which buffers it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl.codegen.fpga.instructions import ROUTES, At, Listing, RowRange
from edgemtl.hw.isa import CODED_WEIGHTS, INT8_WEIGHTS, LINE_BYTES, REGIONS, WINDOWS
from edgemtl.hw.law import Finish

MOST_STRIDE = 4095
"""Largest stride in granules: the operand has 12 bits."""


@dataclass(frozen=True)
class OnChipTensor:
    """Rows on chip: ``width`` values of ``itemsize`` bytes each, ``stride`` granules from one row to the next."""

    at: At
    rows: int
    width: int
    itemsize: int
    stride: int

    def part(self, first: int, rows: int) -> OnChipTensor:
        """``rows`` rows from ``first`` on."""
        return OnChipTensor(self.at.on(first * self.stride), rows, self.width, self.itemsize, self.stride)


def granules(listing: Listing, width: int) -> int:
    """Granules of a row of bytes."""
    return -(-width // listing.engine.array_columns)


def make_tensor(listing: Listing, what: str, region: str, rows: int, width: int, itemsize: int = 1) -> OnChipTensor:
    """A new buffer of rows, each of whole granules: a tile of 16-bit columns takes two."""
    stride = itemsize * granules(listing, width)
    return OnChipTensor(At(listing.buffer(what, region, rows * stride)), rows, width, itemsize, stride)


def columns_of(listing: Listing, tensor: OnChipTensor, columns: slice) -> OnChipTensor:
    """Some tiles of columns of all rows."""
    tile = columns.start // listing.engine.array_columns
    at = tensor.at.on(tile * tensor.itemsize)
    return OnChipTensor(at, tensor.rows, columns.stop - columns.start, tensor.itemsize, tensor.stride)


def rows_of(tensor: OnChipTensor, size: int | None = None) -> RowRange:
    """What an instruction over all rows touches: ``size`` granules of each row, or all of them."""
    return RowRange(tensor.at, tensor.rows, tensor.stride, tensor.stride if size is None else size)


def finish_operands(how: Finish, table: bool) -> dict[str, int]:
    """The operands that say how sums become results."""
    wide = how.dtype == "int16"
    return {"wide": wide, "table": table, "zero": 0 if wide else how.zero, "low": how.low}


@dataclass(frozen=True)
class Slot:
    """Which part of the router's list an instruction processes: the entry, and how many rows of its queue it skips.

    gather: input rows are read through the queue. cached: weights are read from the cache, not from the ring.
    """

    entry: int
    skip: int = 0
    gather: bool = False
    cached: bool = False


def linear(
    listing: Listing,
    x: OnChipTensor,
    y: OnChipTensor,
    ring: dict[str, int],
    how: Finish,
    table: bool,
    *,
    add: OnChipTensor | None = None,
    slot: Slot | None = None,
    tile: int | None = None,
    cache: str | None = None,
    coded: bool = False,
) -> None:
    """LINEAR of the rows of ``x`` to ``y``; ``tile``: granules between tiles of columns where they are not contiguous.

    With a slot that gathers, ``x`` are all rows that may be read and ``y`` the rows of a block. ``coded``: weights are
    in 4 bits.
    """
    size, tiles = y.itemsize, granules(listing, y.width)
    at = {"src": x.at, "dst": y.at} | ({} if add is None else {"add": add.at})
    written = tuple(_tiles(y, size, tiles, size if tile is None else tile))
    added = () if add is None else (RowRange(add.at, y.rows, y.stride, tiles * size),)
    states = (((ROUTES,) if slot else ()) + ((cache,) if cache else ()), ())
    listing.append(
        "LINEAR",
        at,
        (rows_of(x, granules(listing, x.width)), *added),
        written,
        operands=dict(
            src_stride=x.stride,
            rows=y.rows,
            k=x.width,
            n=y.width,
            dst_stride=y.stride,
            dst_tile=size if tile is None else tile,
            residual=int(add is not None),
            slot=0 if slot is None else slot.entry + 1,
            skip=0 if slot is None else slot.skip,
            gather=int(slot is not None and slot.gather),
            cached=int(slot is not None and slot.cached),
            format=CODED_WEIGHTS if coded else INT8_WEIGHTS,
            **unused("add", "residual"),
            **ring,
            **finish_operands(how, table),
        ),
        states=states,
    )


def _tiles(y: OnChipTensor, size: int, tiles: int, step: int) -> Iterator[RowRange]:
    if step == size:
        yield RowRange(y.at, y.rows, y.stride, tiles * size)
        return
    for tile in range(tiles):
        yield RowRange(y.at.on(tile * step), y.rows, y.stride, size)


def load(listing: Listing, window: str, line: int, step: int, y: OnChipTensor, states: tuple[str, ...] = ()) -> None:
    """LOAD the rows of ``y``, ``step`` lines apart in DRAM."""
    for part, at in _within_stride(y):
        listing.append(
            "LOAD",
            {"dst": part.at},
            (),
            (rows_of(part),),
            operands=_copied(window, line + at * step, step, part),
            states=(states, ()),
        )


def store(listing: Listing, window: str, line: int, step: int, x: OnChipTensor, states: tuple[str, ...] = ()) -> None:
    """STORE the rows of ``x``, ``step`` lines apart in DRAM."""
    for part, at in _within_stride(x):
        listing.append(
            "STORE",
            {"src": part.at},
            (rows_of(part),),
            (),
            operands=_copied(window, line + at * step, step, part),
            states=((), states),
        )


def _copied(window: str, line: int, step: int, rows: OnChipTensor) -> dict[str, int]:
    """The operands that LOAD and STORE share."""
    return dict(
        window=WINDOWS.index(window),
        address=line,
        step=step,
        stride=min(rows.stride, MOST_STRIDE),
        rows=rows.rows,
        size=rows.stride,
    )


def _within_stride(tensor: OnChipTensor) -> Iterator[tuple[OnChipTensor, int]]:
    """All rows at once, or one by one where their stride is more than the operand can hold; each with its first row."""
    if tensor.stride <= MOST_STRIDE:
        yield tensor, 0
    else:
        yield from ((tensor.part(row, 1), row) for row in range(tensor.rows))


def lines_of(listing: Listing, tensor: OnChipTensor) -> int:
    """Lines of a row in DRAM."""
    return -(-tensor.stride * listing.engine.array_columns // LINE_BYTES)


def unused(name: str, region: str) -> dict[str, int]:
    """The two operands of an address that an instruction does not use; they name a ``region`` that may stand there."""
    return address_operands(name, region, 0)


def address_operands(name: str, region: str, granule: int) -> dict[str, int]:
    """The two operands of the address called ``name``: its region and the granule there."""
    return {f"{name}_region": REGIONS.index(region), name: granule}
