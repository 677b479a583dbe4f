"""The stages of a Winograd convolution on one block of tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Winograd
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import (
    ACTIVATIONS,
    Buffer,
    Expr,
    Lane,
    f32,
    fill,
    guarded,
    i32,
    local,
    panels,
    register_tile,
    store_row,
    vector_store,
)
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from edgemtl.tvm_bridge.kernels.winograd_cut import ChannelGroup, WinogradCut
from edgemtl.tvm_bridge.kernels.winograd_math import PLACES, TILE, WINDOW, input_row, output_row, upsample_row

# Steps between two rounds of requests for weights. Of more requests at once than a core has buffers for, the others
# wait: with 32, 8x8x192 took twice the time with AVX2, 1.5 times with AVX-512 (one core of an AMD EPYC, Zen 5).
CHUNK = 4
LINE_BYTES = 64


@dataclass(frozen=True)
class Stage:
    """A convolution while it is emitted: its sizes and its buffers."""

    spec: Winograd
    target: CpuTarget
    cut: WinogradCut
    x: Buffer
    transformed: Buffer
    bias: Buffer
    windows: Buffer
    products: Buffer
    y: Buffer
    last_weight: Buffer = None
    last_bias: Buffer = None
    pixels: Buffer = None
    totals: Buffer = None

    def place(self, block: Expr, tile: Expr) -> tuple[Expr, Expr]:
        """Row and column of a tile of a block; past the last tile of the image it is that one again."""
        index = block * self.cut.block + tile
        if self.cut.tiles % self.cut.block:
            index = tirx.min(index, self.cut.tiles - 1)
        index = T.bind(index)
        return T.bind(tirx.floordiv(index, self.cut.across)), T.bind(tirx.floormod(index, self.cut.across))


def vectors(count: int, lanes: int, emit: Callable[[Expr, int], None]) -> None:
    """Call ``emit(first, lanes)`` over ``count`` values: whole vectors in a loop, then what is left."""
    if count // lanes:
        with T.serial(count // lanes) as index:
            emit(index * lanes, lanes)
    if count % lanes:
        emit(count // lanes * lanes, count % lanes)


class _Line:
    """Where the samples of a window lie along one axis, and which of them are padding."""

    def __init__(self, tile: Expr, tiles: int, size: int, upsample: bool) -> None:
        self.upsample = upsample
        low, step, reach = (size // 2, TILE // 2, TILE) if upsample else (size, TILE, WINDOW)
        self.at = [T.bind(tirx.max(tirx.min(tile * step + q - 1, low - 1), 0)) for q in range(reach)]
        # The first of six samples is padding in the first tile, the one right behind the image in the last.
        self.masks = {
            0: T.bind(tirx.if_then_else(tile == 0, f32(0.0), f32(1.0))),
            size + 1 - TILE * (tiles - 1): T.bind(tirx.if_then_else(tile == tiles - 1, f32(0.0), f32(1.0))),
        }

    def samples(self, read: list[Buffer], lanes: int) -> list[Buffer]:
        """The six samples, enlarged from four where asked."""
        out = [local(lanes) for _ in range(WINDOW)]
        for q in range(WINDOW):

            def value(lane: Expr, q: int = q) -> Expr:
                seen = [buffer[lane] for buffer in read]
                sample = upsample_row(seen, f32)[q] if self.upsample else seen[q]
                return sample * self.masks[q] if q in self.masks else sample

            fill(out[q], lanes, value)
        return out


def read_windows(stage: Stage, part: Expr, block: Expr) -> None:
    """V = B^T d B of every tile of the block."""
    spec = stage.spec
    with T.serial(stage.cut.block) as tile:
        down, across = stage.place(block, tile)
        rows = _Line(down, stage.cut.down, spec.height, spec.upsample)
        columns = _Line(across, stage.cut.across, spec.width, spec.upsample)

        def window(first: Expr, lanes: int) -> None:
            halves = [_half_window(stage.x, rows, at, first, lanes) for at in columns.at]
            for i in range(WINDOW):
                samples = columns.samples([half[i] for half in halves], lanes)
                for j in range(WINDOW):
                    vector_store(
                        stage.windows,
                        lanes,
                        _picked(input_row, samples, j),
                        lambda lane, i=i, j=j: (part, tile, i * WINDOW + j, first + lane),  # type: ignore[misc]
                    )

        vectors(spec.cin, stage.target.lanes, window)


def _half_window(x: Buffer, rows: _Line, column: Expr, first: Expr, lanes: int) -> list[Buffer]:
    """B^T d for one column of samples."""
    read = [local(lanes) for _ in rows.at]
    for buffer, row in zip(read, rows.at, strict=True):
        fill(buffer, lanes, lambda lane, row=row: x[row, column, first + lane])  # type: ignore[misc]
    samples = rows.samples(read, lanes)
    out = [local(lanes) for _ in range(WINDOW)]
    for i in range(WINDOW):
        fill(out[i], lanes, _picked(input_row, samples, i))
    return out


def _picked(row: Callable[..., list[Expr]], values: list[Buffer], index: int) -> Lane:
    return lambda lane: row([value[lane] for value in values], f32)[index]


def multiply(stage: Stage, part: Expr, column: Expr, group: ChannelGroup) -> None:
    """M = V U for one group of output channels, place by place."""
    with T.grid(PLACES, group.panels) as (place, panel):
        base = T.bind(((column + panel * group.width) * PLACES + place * group.width) * stage.spec.cin)
        with T.serial(stage.cut.block // stage.cut.tall) as index:
            _tile(stage, (part, index, place), group.width, panel * group.width, base)


def _tile(stage: Stage, at: tuple[Expr, Expr, Expr], width: int, column: Expr, base: Expr) -> None:
    """One register tile of M, of the weights at ``base`` to the columns from ``column``."""
    (part, index, place), tall = at, stage.cut.tall
    sums = [local(width) for _ in range(tall)]
    for total in sums:
        fill(total, width, lambda lane: f32(0.0))
    _accumulate(stage, sums, width, at, base)
    for row, total in enumerate(sums):
        vector_store(
            stage.products,
            width,
            lambda lane, total=total: total[lane],  # type: ignore[misc]
            lambda lane, row=row: (part, index * tall + row, place, column + lane),  # type: ignore[misc]
        )


def _accumulate(stage: Stage, sums: list[Buffer], width: int, at: tuple[Expr, Expr, Expr], base: Expr) -> None:
    """Add all input channels' products to a register tile, asking for the weights read next meanwhile."""
    (part, tile, place), depth = at, stage.spec.cin

    def products(first: Expr, count: int) -> None:
        with T.serial(count) as index:
            k = first + index
            for row, total in enumerate(sums):
                value = stage.windows[part, tile * stage.cut.tall + row, place, k]
                fill(
                    total,
                    width,
                    lambda lane, total=total, value=value: (
                        total[lane]  # type: ignore[misc]
                        + value * stage.transformed[base + k * width + lane]
                    ),
                )

    size = depth * width
    tiled_steps(stage.cut, depth, tile, Following(stage.transformed, base + size, size), products)


@dataclass(frozen=True)
class Following:
    """What a buffer has from ``start`` on: ``size`` values of the weights that are read next.

    Places lie one behind the other in a panel, and panels too: the next weights follow at once.
    """

    buffer: Buffer
    start: Expr
    size: int


def tiled_steps(
    cut: WinogradCut, steps: int, tile: Expr, following: Following, emit: Callable[[Expr, int], None]
) -> None:
    """``emit(first, count)`` for all steps of a tile, and between them the tile's share of requests for weights.

    Weights too large for the cache pass through it once a block: requests between chunks of steps hide the way from
    memory; one in the innermost loop would cost registers.
    """
    chunks = steps // CHUNK if cut.prefetch else 0
    if chunks:
        line = LINE_BYTES // np.dtype(following.buffer.dtype).itemsize
        lines = -(-following.size // (line * chunks * (cut.block // cut.tall)))
        with T.serial(chunks) as chunk:
            with T.serial(lines) as index:
                prefetch(following.buffer, following.start + ((tile * chunks + chunk) * lines + index) * line)
            emit(chunk * CHUNK, CHUNK)
    if steps - chunks * CHUNK:
        emit(i32(chunks * CHUNK), steps - chunks * CHUNK)


def prefetch(buffer: Buffer, index: Expr) -> None:
    """Ask for a cache line to come to the second-level cache; a missing address does no harm."""
    hint = i32(0), i32(2), i32(1)
    T.evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch.p0", tirx.address_of(buffer[index]), *hint))


def write_outputs(stage: Stage, part: Expr, block: Expr, column: Expr, valid: int) -> None:
    """act(A^T M A + bias) of every tile for one panel, to the image or to the pixels of a 1x1 convolution."""
    lanes = stage.target.lanes
    with T.serial(stage.cut.block) as tile:
        down, across = stage.place(block, tile)

        def outputs(first: Expr, count: int) -> None:
            halves = [_half_outputs(stage.products, (part, tile, b), first, lanes) for b in range(WINDOW)]
            for i in range(TILE):
                row = [half[i] for half in halves]
                for j in range(TILE):
                    value = _finished(stage, row, j, column + first)
                    if stage.spec.pointwise:
                        pixel = tile * TILE**2 + i * TILE + j
                        vector_store(
                            stage.pixels,
                            lanes,
                            value,
                            lambda lane, pixel=pixel: (part, pixel, first + lane),  # type: ignore[misc]
                        )
                    else:
                        _store_pixel(stage, (down, across), (i, j), column + first, (count, lanes), value)

        vectors(valid, lanes, outputs)


def _half_outputs(products: Buffer, place: tuple[Expr, Expr, int], first: Expr, lanes: int) -> list[Buffer]:
    """A^T M for one column of places."""
    part, tile, column = place
    read, out = [local(lanes) for _ in range(WINDOW)], [local(lanes) for _ in range(TILE)]
    for a in range(WINDOW):
        fill(read[a], lanes, lambda lane, a=a: products[part, tile, a * WINDOW + column, first + lane])  # type: ignore[misc]
    for i in range(TILE):
        fill(out[i], lanes, _picked(output_row, read, i))
    return out


def _finished(stage: Stage, row: list[Buffer], j: int, channel: Expr) -> Lane:
    activate = ACTIVATIONS.get(stage.spec.activation, lambda value: value)
    value = _picked(output_row, row, j)
    return lambda lane: activate(value(lane) + stage.bias[channel + lane])


def _store_pixel(
    stage: Stage,
    tile: tuple[Expr, Expr],
    within: tuple[int, int],
    channel: Expr,
    size: tuple[int, int],
    value: Lane,
) -> None:
    """Store a vector of one pixel, if the pixel is in the image; ``size``: lanes that exist, and all."""
    spec = stage.spec
    at = tuple(place * TILE + offset for place, offset in zip(tile, within, strict=True))
    tests = [
        at[axis] < length for axis, length in enumerate((spec.height, spec.width)) if 0 < length % TILE <= within[axis]
    ]

    def store() -> None:
        store_row(stage.y, *size, value, lambda lane: (*at, channel + lane))

    if tests:
        with guarded(tirx.all(*tests) if len(tests) > 1 else tests[0]):
            store()
    else:
        store()


def start_totals(stage: Stage, part: Expr) -> None:
    """Every pixel's 1x1 convolution starts from its bias."""
    last = padded_width(stage.spec.pointwise, stage.target)
    with T.serial(stage.cut.block * TILE**2) as pixel:
        for first in range(0, last, stage.target.lanes):
            vector_store(
                stage.totals,
                stage.target.lanes,
                lambda lane, first=first: stage.last_bias[first + lane],  # type: ignore[misc]
                lambda lane, first=first: (part, pixel, first + lane),  # type: ignore[misc]
            )


def add_totals(stage: Stage, part: Expr, column: Expr, valid: int) -> None:
    """Add the products of one panel of channels to every pixel's 1x1 convolution."""
    tall, spec = TILE if stage.target.vector_registers == 16 else 2 * TILE, stage.spec
    with T.serial(stage.cut.block * TILE**2 // tall) as group:
        start = 0
        for width, _ in panels(spec.pointwise, stage.target):

            def place(row: int, lane: Expr, start: int = start) -> tuple[Expr, ...]:
                return part, group * tall + row, start + lane

            sums = register_tile(
                tall,
                width,
                valid,
                lambda row, k: stage.pixels[part, group * tall + row, k],
                lambda k, start=start, width=width: (
                    lambda lane: stage.last_weight[  # type: ignore[misc]
                        start * spec.cout + (column + k) * width + lane
                    ]
                ),
                lambda row, place=place: lambda lane: stage.totals[place(row, lane)],  # type: ignore[misc]
            )
            for row, total in enumerate(sums):
                vector_store(
                    stage.totals,
                    width,
                    lambda lane, total=total: total[lane],  # type: ignore[misc]
                    lambda lane, row=row, place=place: place(row, lane),  # type: ignore[misc]
                )
            start += width


def write_totals(stage: Stage, part: Expr, block: Expr) -> None:
    """Store the 1x1 convolution's results of the pixels that exist."""
    spec, lanes = stage.spec, stage.target.lanes
    with T.serial(stage.cut.block) as tile:
        down, across = stage.place(block, tile)
        with T.grid(TILE, TILE) as (i, j):
            y, x, pixel = down * TILE + i, across * TILE + j, tile * TILE**2 + i * TILE + j
            with guarded(tirx.all(y < spec.height, x < spec.width)):
                vectors(
                    spec.pointwise,
                    lanes,
                    lambda first, count: store_row(
                        stage.y,
                        count,
                        lanes,
                        lambda lane: stage.totals[part, pixel, first + lane],
                        lambda lane: (y, x, first + lane),
                    ),
                )
