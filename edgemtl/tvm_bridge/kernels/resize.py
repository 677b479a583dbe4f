"""Bilinear resize of a channels-last image, to channels-last or to planes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, for_columns, guarded, parallel, vector_store
from edgemtl.tvm_bridge.specs_conv import ResizeSpec
from edgemtl.tvm_bridge.target import CpuTarget


def source_places(size: int, out_size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each output place the lower source place (int32) and the weight of the next one (float32).

    Source coordinate (i + 0.5) size / out_size - 0.5, clamped to the image; ONNX Resize, half_pixel.
    """
    at = np.clip((np.arange(out_size) + 0.5) * (size / out_size) - 0.5, 0, size - 1)
    low = np.minimum(np.floor(at).astype(np.int32), max(size - 2, 0))
    return low, (at - low).astype(np.float32)


def pack(spec: ResizeSpec, target: CpuTarget) -> tuple[np.ndarray, ...]:
    """Rows' lower places and weights, then the columns'."""
    return (*source_places(spec.height, spec.out_height), *source_places(spec.width, spec.out_width))


@lru_cache(maxsize=None)
def build(spec: ResizeSpec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, rows, row_weights, columns, column_weights, line (workspace), y."""
    planar = (1, spec.channels, spec.out_height, spec.out_width)
    operands = [
        Operand("x", (spec.height, spec.width, spec.channels), "float32", "input"),
        Operand("rows", (spec.out_height,), "int32", "weight"),
        Operand("row_weights", (spec.out_height,), "float32", "weight"),
        Operand("columns", (spec.out_width,), "int32", "weight"),
        Operand("column_weights", (spec.out_width,), "float32", "weight"),
        Operand("line", (target.threads, spec.width, spec.channels), "float32", "workspace"),
        Operand("y", planar if spec.planar else (*planar[2:], spec.channels), "float32", "output"),
    ]

    def body(x: Buffer, rows: Buffer, row_weights: Buffer, *rest: Buffer) -> None:
        share = -(-spec.out_height // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            row = part * share + index
            with guarded(row < spec.out_height):
                _blend_rows(spec, target, x, rows, row_weights, rest[2], part, row)
                (_planes if spec.planar else _pixels)(spec, target, *rest, part, row)

    kind = "planar" if spec.planar else "pixels"
    symbol = f"resize_{spec.height}x{spec.width}x{spec.channels}_{spec.out_height}x{spec.out_width}_{kind}"
    return define(symbol, operands, body)


def _blend_rows(
    spec: ResizeSpec, target: CpuTarget, x: Buffer, rows: Buffer, weights: Buffer, line: Buffer, part: Expr, row: Expr
) -> None:
    """line[part] = the source row between the two neighbours of output row ``row``."""
    low, next_row = rows[row], 1 if spec.height > 1 else 0

    def blend(width: int, pixel: Expr, first: Expr) -> None:
        vector_store(
            line,
            width,
            lambda lane: x[low, pixel, first + lane]
            + weights[row] * (x[low + next_row, pixel, first + lane] - x[low, pixel, first + lane]),
            lambda lane: (part, pixel, first + lane),
        )

    with T.serial(spec.width) as pixel:
        for_columns(spec.channels, target, lambda width, first: blend(width, pixel, first))


def _blended(spec: ResizeSpec, line: Buffer, columns: Buffer, weights: Buffer, part: Expr, at: Expr, channel: Expr) -> Expr:
    next_column = 1 if spec.width > 1 else 0
    low = line[part, columns[at], channel]
    return low + weights[at] * (line[part, columns[at] + next_column, channel] - low)


def _pixels(
    spec: ResizeSpec, target: CpuTarget, columns: Buffer, weights: Buffer, line: Buffer, y: Buffer, part: Expr, row: Expr
) -> None:
    with T.serial(spec.out_width) as at:
        for_columns(
            spec.channels,
            target,
            lambda width, first: vector_store(
                y,
                width,
                lambda lane: _blended(spec, line, columns, weights, part, at, first + lane),
                lambda lane: (row, at, first + lane),
            ),
        )


def _planes(
    spec: ResizeSpec, target: CpuTarget, columns: Buffer, weights: Buffer, line: Buffer, y: Buffer, part: Expr, row: Expr
) -> None:
    with T.serial(spec.channels) as channel:
        for_columns(
            spec.out_width,
            target,
            lambda width, first: vector_store(
                y,
                width,
                lambda lane: _blended(spec, line, columns, weights, part, first + lane, channel),
                lambda lane: (0, channel, row, first + lane),
            ),
        )
