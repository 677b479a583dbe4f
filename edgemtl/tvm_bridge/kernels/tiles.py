"""How a product with packed weights is cut: column panels and rows over threads, rows into register tiles.

Every output element is computed in one place by one order of additions, so results never depend on the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import (
    ACTIVATIONS,
    Buffer,
    Expr,
    Lane,
    fill,
    guarded,
    i32,
    local,
    panel_width,
    panels,
    pieces,
    vector_store,
)

# A panel: its width in registers, how many of its columns exist, its first column and how rows are shared.
EmitPanel = Callable[[int, int, Expr, "RowShare"], None]
# A tile: how many rows, and the first.
EmitTile = Callable[[int, Expr], None]
Place = Callable[[Expr, Expr], Sequence[Expr]]
# Activations this cheap are applied to registers; the others in a loop over the rows of a tile, to keep code short.
CHEAP = ("", "relu", "relu6", "hard_sigmoid", "hard_swish")


class RowShare:
    """Share ``index`` of ``count`` equal shares of some rows."""

    def __init__(self, index: Expr, count: int) -> None:
        self.index, self.count = index, count

    def bounds(self, total: Expr) -> tuple[Expr, Expr]:
        """First and end of this share of ``total`` things; earlier shares are the larger ones."""
        if self.count == 1:
            return i32(0), total
        return self._edge(total, self.index), self._edge(total, self.index + 1)

    def _edge(self, total: Expr, index: Expr) -> Expr:
        return tirx.floordiv(total * index + self.count - 1, self.count)

    @property
    def is_last(self) -> Expr:
        """Whether this is the share that takes what is left over."""
        return self.index == self.count - 1


def padded_width(n: int, target: CpuTarget) -> int:
    """Columns of packed weights: n rounded up to whole vectors."""
    return sum(width for width, _ in panels(n, target))


def pack_panels(weight: np.ndarray, target: CpuTarget) -> np.ndarray:
    """W [k, n] as kernels read it: flat, panel after panel, each [k, width], zeros in columns that do not exist."""
    k, n = weight.shape
    padded = np.zeros((k, padded_width(n, target)), np.float32)
    padded[:, :n] = weight
    widths = [width for width, _ in panels(n, target)]
    return np.concatenate([part.ravel() for part in np.split(padded, np.cumsum(widths)[:-1], axis=1)])


def pack_bias(bias: np.ndarray, target: CpuTarget) -> np.ndarray:
    """b [n] padded with zeros to whole vectors."""
    padded = np.zeros(padded_width(bias.size, target), np.float32)
    padded[: bias.size] = bias
    return padded


def split_panels(n: int, target: CpuTarget, part: Expr, emit: EmitPanel) -> None:
    """The work of one of ``target.threads`` parts over n columns.

    Whole panels in equal numbers, so that a part reads only its own weights; what is left over is shared by rows.
    """
    cut, threads, widest = panels(n, target), target.threads, panel_width(target)
    wide = sum(1 for panel in cut if panel == (widest, widest))
    each = wide // threads
    if each:
        with T.serial(each) as index:
            emit(widest, widest, (part * each + index) * widest, RowShare(part * 0, 1))
    column = each * threads * widest
    for width, valid in cut[each * threads :]:
        emit(width, valid, part * 0 + column, RowShare(part, threads))
        column += width


def row_tiles(rows: int, tall: int, share: RowShare, emit: EmitTile) -> None:
    """Tiles over a share of ``rows`` rows; the last share takes the rows that fill no tile."""
    tiles, rest = divmod(rows, tall)
    if tiles:
        first, end = share.bounds(i32(tiles))
        with T.serial(end - first) as index:
            emit(tall, (first + index) * tall)
    if rest:
        with guarded(share.is_last):
            emit(rest, share.index * 0 + tiles * tall)


def dynamic_tiles(rows: Expr, tall: int, share: RowShare, emit: EmitTile) -> None:
    """The same where ``rows`` is known at run time only: rows that fill no tile go by powers of two."""
    tiles, rest = tirx.floordiv(rows, tall), tirx.floormod(rows, tall)
    first, end = share.bounds(tiles)
    with T.serial(end - first) as index:
        emit(tall, (first + index) * tall)
    height = 1 << ((tall - 1).bit_length() - 1)
    while height:
        before = tirx.floordiv(rest, 2 * height) * (2 * height)
        with guarded(tirx.all(share.is_last, rest - before >= height)):
            emit(height, tiles * tall + before)
        height //= 2


def store_tile(
    buffer: Buffer,
    sums: Sequence[Buffer],
    size: tuple[int, int],
    activation: str,
    place: Place,
    added: Buffer | None = None,
) -> None:
    """``buffer[place(row, lane)] = act(sums[row][lane]) (+ added[place(row, lane)])``.

    ``size``: the width of the tile and how many of its columns exist.
    """
    width, valid = size

    def store(row: Expr, value: Lane) -> None:
        def active(lane: Expr) -> Expr:
            return ACTIVATIONS[activation](value(lane)) if activation else value(lane)

        def total(lane: Expr, first: int, source: Lane) -> Expr:
            return source(lane) if added is None else source(lane) + added[tuple(place(row, first + lane))]

        if valid == width:
            vector_store(buffer, width, lambda lane: total(lane, 0, active), lambda lane: place(row, lane))
            return
        spare = local(width)
        fill(spare, width, active)
        for first, lanes in pieces(valid):
            vector_store(
                buffer,
                lanes,
                lambda lane, first=first: total(lane, first, lambda at: spare[first + at]),  # type: ignore[misc]
                lambda lane, first=first: place(row, first + lane),  # type: ignore[misc]
            )

    if activation in CHEAP:
        for row, total in enumerate(sums):
            store(i32(row), lambda lane, total=total: total[lane])  # type: ignore[misc]
        return
    spare = local(len(sums) * width)
    for row, total in enumerate(sums):
        vector_store(
            spare,
            width,
            lambda lane, total=total: total[lane],  # type: ignore[misc]
            lambda lane, row=row: (row * width + lane,),  # type: ignore[misc]
        )
    with T.serial(len(sums)) as row:
        store(row, lambda lane: spare[row * width + lane])
