"""One function for each kind of word: its operands, and what it reads and writes of which buffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl.codegen.fpga.words import ROUTES, At, Listing, Rows
from edgemtl.hw.isa import LINE_BYTES, REGIONS, WINDOWS
from edgemtl.hw.law import Finish

MOST_STRIDE = 4095
"""Granules that 12 bits count."""


@dataclass(frozen=True)
class Tensor:
    """Rows on chip: ``width`` values of ``itemsize`` bytes each, ``stride`` granules from one to the next."""

    at: At
    rows: int
    width: int
    itemsize: int
    stride: int

    def part(self, first: int, rows: int) -> Tensor:
        """Some of the rows."""
        return Tensor(self.at.on(first * self.stride), rows, self.width, self.itemsize, self.stride)


def granules(listing: Listing, width: int) -> int:
    """Granules of a row of bytes."""
    return -(-width // listing.engine.array_columns)


def make_tensor(listing: Listing, what: str, region: str, rows: int, width: int, itemsize: int = 1) -> Tensor:
    """A new buffer of rows, each of whole granules: a tile of 16-bit columns takes two."""
    stride = itemsize * granules(listing, width)
    return Tensor(At(listing.buffer(what, region, rows * stride)), rows, width, itemsize, stride)


def columns_of(listing: Listing, tensor: Tensor, columns: slice) -> Tensor:
    """Some tiles of columns of all rows."""
    tile = columns.start // listing.engine.array_columns
    at = tensor.at.on(tile * tensor.itemsize)
    return Tensor(at, tensor.rows, columns.stop - columns.start, tensor.itemsize, tensor.stride)


def rows_of(tensor: Tensor, size: int | None = None) -> Rows:
    """What a word touches that goes over all rows; ``size`` granules of each, else all."""
    return Rows(tensor.at, tensor.rows, tensor.stride, tensor.stride if size is None else size)


def finish_operands(how: Finish, table: bool) -> dict[str, int]:
    """The operands that say how sums are finished."""
    wide = how.dtype == "int16"
    return {"wide": wide, "table": table, "zero": 0 if wide else how.zero, "low": -128 if wide else how.low}


@dataclass(frozen=True)
class Slot:
    """Which part of the router's work a word does: entry, and places of its queue before.

    gather: rows are read through the queue. cached: weights are read from the entry's place in the cache.
    """

    entry: int
    skip: int = 0
    gather: bool = False
    cached: bool = False


def linear(
    listing: Listing,
    x: Tensor,
    y: Tensor,
    ring: dict[str, int],
    how: Finish,
    table: bool,
    *,
    add: Tensor | None = None,
    slot: Slot | None = None,
    tile: int | None = None,
    cache: str | None = None,
) -> None:
    """LINEAR of the rows of ``x`` to ``y``; ``tile`` granules between tiles of columns where they are not neighbours.

    With a slot that gathers, ``x`` are all rows that may be read and ``y`` the rows of a block.
    """
    size, tiles = y.itemsize, granules(listing, y.width)
    places = {"src": x.at, "dst": y.at, "add": y.at if add is None else add.at}
    written = tuple(_tiles(y, size, tiles, size if tile is None else tile))
    added = () if add is None else (Rows(add.at, y.rows, y.stride, tiles * size),)
    states = (((ROUTES,) if slot else ()) + ((cache,) if cache else ()), ())
    listing.word(
        "LINEAR",
        places,
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
            **ring,
            **finish_operands(how, table),
        ),
        states=states,
    )


def _tiles(y: Tensor, size: int, tiles: int, step: int) -> Iterator[Rows]:
    if step == size:
        yield Rows(y.at, y.rows, y.stride, tiles * size)
        return
    for tile in range(tiles):
        yield Rows(y.at.on(tile * step), y.rows, y.stride, size)


def load(listing: Listing, window: str, line: int, step: int, y: Tensor, states: tuple[str, ...] = ()) -> None:
    """LOAD the rows of ``y``, ``step`` lines apart in memory."""
    for part, at in _within_stride(y):
        listing.word(
            "LOAD",
            {"dst": part.at},
            (),
            (rows_of(part),),
            operands=_copied(window, line + at * step, step, part),
            states=(states, ()),
        )


def store(listing: Listing, window: str, line: int, step: int, x: Tensor, states: tuple[str, ...] = ()) -> None:
    """STORE the rows of ``x``, ``step`` lines apart in memory."""
    for part, at in _within_stride(x):
        listing.word(
            "STORE",
            {"src": part.at},
            (rows_of(part),),
            (),
            operands=_copied(window, line + at * step, step, part),
            states=((), states),
        )


def _copied(window: str, line: int, step: int, rows: Tensor) -> dict[str, int]:
    """The operands that LOAD and STORE share."""
    return dict(
        window=WINDOWS.index(window),
        address=line,
        step=step,
        stride=min(rows.stride, MOST_STRIDE),
        rows=rows.rows,
        size=rows.stride,
    )


def _within_stride(tensor: Tensor) -> Iterator[tuple[Tensor, int]]:
    """The rows together, or one by one where the step between them is more than an operand holds."""
    if tensor.stride <= MOST_STRIDE:
        yield tensor, 0
    else:
        yield from ((tensor.part(row, 1), row) for row in range(tensor.rows))


def lines_of(listing: Listing, tensor: Tensor) -> int:
    """Lines of a row in memory."""
    return -(-tensor.stride * listing.engine.array_columns // LINE_BYTES)


def place_operands(place: str, region: str, granule: int) -> dict[str, int]:
    """The two operands of a place."""
    return {f"{place}_region": REGIONS.index(region), place: granule}
