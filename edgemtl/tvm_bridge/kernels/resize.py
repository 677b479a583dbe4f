"""Bilinear resize of a channels-last image, to channels-last or to planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Resize
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    Lane,
    define,
    for_columns,
    guarded,
    i32,
    parallel,
    store_row,
    vector_store,
    within,
)
from edgemtl.tvm_bridge.kernels.layout import transpose


def source_places(size: int, out_size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each output place the lower source place (int32) and the weight of the next one (float32).

    Source coordinate (i + 0.5) size / out_size - 0.5, clamped to the image; ONNX Resize, half_pixel.
    """
    at = np.clip((np.arange(out_size) + 0.5) * (size / out_size) - 0.5, 0, size - 1)
    low = np.minimum(np.floor(at).astype(np.int32), max(size - 2, 0))
    return low, (at - low).astype(np.float32)


def pack(spec: Resize, target: CpuTarget) -> tuple[np.ndarray, ...]:
    """Rows' lower places and weights, then the columns'."""
    return (*source_places(spec.height, spec.out_height), *source_places(spec.width, spec.out_width))


@dataclass(frozen=True)
class _Resize:
    """A resize while it is emitted: its sizes and its buffers."""

    spec: Resize
    target: CpuTarget
    x: Buffer
    rows: Buffer
    row_weights: Buffer
    columns: Buffer
    column_weights: Buffer
    line: Buffer
    y: Buffer


@cache
def build(spec: Resize, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, rows, row_weights, columns, column_weights, line (workspace), y."""
    planar = (1, spec.channels, spec.out_height, spec.out_width)
    # A vector of the last pixel's channels may be read past its end.
    line = spec.width * spec.channels + target.lanes
    operands = [
        Operand("x", (spec.height, spec.width * spec.channels), "float32", "input"),
        Operand("rows", (spec.out_height,), "int32", "weight", (0, max(spec.height - 2, 0))),
        Operand("row_weights", (spec.out_height,), "float32", "weight"),
        Operand("columns", (spec.out_width,), "int32", "weight", (0, max(spec.width - 2, 0))),
        Operand("column_weights", (spec.out_width,), "float32", "weight"),
        Operand("line", (target.threads, line), "float32", "workspace"),
        Operand("y", planar if spec.planar else (*planar[2:], spec.channels), "float32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        resize = _Resize(spec, target, *buffers)
        share = -(-spec.out_height // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            row = part * share + index
            with guarded(row < spec.out_height):
                _blend_rows(resize, part, row)
                (_planes if spec.planar else _pixels)(resize, part, row)

    kind = "planar" if spec.planar else "pixels"
    symbol = f"resize_{spec.height}x{spec.width}x{spec.channels}_{spec.out_height}x{spec.out_width}_{kind}"
    return define(symbol, operands, body)


def _blend_rows(resize: _Resize, part: Expr, row: Expr) -> None:
    """line[part] = the source row between the two neighbours of output row ``row``."""
    x, weight = resize.x, T.bind(resize.row_weights[row])
    low = T.bind(within(resize.rows[row], i32(0), i32(max(resize.spec.height - 2, 0))))
    next_row = 1 if resize.spec.height > 1 else 0

    def blend(width: int, first: Expr) -> None:
        def value(lane: Expr) -> Expr:
            above, below = x[low, first + lane], x[low + next_row, first + lane]
            return above + weight * (below - above)

        vector_store(resize.line, width, value, lambda lane: (part, first + lane))

    for_columns(resize.spec.width * resize.spec.channels, resize.target, blend)


def _blended(resize: _Resize, part: Expr, at: Expr, channel: Expr) -> Lane:
    """Channels from ``channel`` on of the pixel between the two neighbours of output column ``at``."""
    channels, line = resize.spec.channels, resize.line
    column = within(resize.columns[at], i32(0), i32(max(resize.spec.width - 2, 0)))
    left = T.bind(column * channels + channel)
    weight = T.bind(resize.column_weights[at])
    step = channels if resize.spec.width > 1 else 0

    def value(lane: Expr) -> Expr:
        low = line[part, left + lane]
        return low + weight * (line[part, left + step + lane] - low)

    return value


def _pixels(resize: _Resize, part: Expr, row: Expr) -> None:
    with T.serial(resize.spec.out_width) as at:

        def pixel(width: int, first: Expr) -> None:
            vector_store(resize.y, width, _blended(resize, part, at, first), lambda lane: (row, at, first + lane))

        for_columns(resize.spec.channels, resize.target, pixel)


def _planes(resize: _Resize, part: Expr, row: Expr) -> None:
    """As many pixels at a time as there are lanes, their channels transposed to planes."""
    spec, lanes = resize.spec, resize.target.lanes

    def block(first: Expr, pixels: int) -> None:
        if spec.channels // lanes:
            with T.serial(spec.channels // lanes) as index:
                _plane_tile(resize, part, row, (first, pixels), index * lanes, lanes)
        if spec.channels % lanes:
            rest = spec.channels % lanes
            _plane_tile(resize, part, row, (first, pixels), row * 0 + spec.channels - rest, rest)

    if spec.out_width // lanes:
        with T.serial(spec.out_width // lanes) as index:
            block(index * lanes, lanes)
    if spec.out_width % lanes:
        block(row * 0 + spec.out_width // lanes * lanes, spec.out_width % lanes)


def _plane_tile(resize: _Resize, part: Expr, row: Expr, span: tuple[Expr, int], channel: Expr, channels: int) -> None:
    first, pixels = span
    values = [_blended(resize, part, first + pixel, channel) for pixel in range(pixels)]
    transpose(
        pixels,
        channels,
        lambda pixel: values[pixel],
        lambda index, value: store_row(
            resize.y, pixels, pixels, value, lambda lane: (0, channel + index, row, first + lane)
        ),
    )
