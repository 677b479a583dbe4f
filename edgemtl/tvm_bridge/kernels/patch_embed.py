"""Patch embedding: the image's patches as rows, then the linear kernel's tiles, plus a table of positions."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import PatchEmbed
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    f32,
    guarded,
    panels,
    parallel,
    register_tile,
    tile_rows,
)
from edgemtl.tvm_bridge.kernels.tiles import RowShare, dynamic_tiles, pack_panels, padded_width, store_tile


def pack(spec: PatchEmbed, target: CpuTarget, weight: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convolution weight [dim, channels, patch, patch] and table [leading + patches, dim]."""
    return pack_panels(weight.reshape(spec.dim, -1).T, target), np.ascontiguousarray(table, np.float32)


@cache
def build(spec: PatchEmbed, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands image, weight, table, rows (workspace), y."""
    grid = spec.height // spec.patch, spec.width // spec.patch
    patches, depth = grid[0] * grid[1], spec.channels * spec.patch**2
    tokens = spec.leading + patches
    operands = [
        Operand("image", (1, spec.channels, spec.height, spec.width), "float32", "input"),
        Operand("weight", (depth * padded_width(spec.dim, target),), "float32", "weight"),
        Operand("table", (tokens, spec.dim), "float32", "weight"),
        Operand("rows", (target.threads, -(-patches // target.threads), depth), "float32", "workspace"),
        Operand("y", (tokens, spec.dim), "float32", "output"),
    ]

    def body(image: Buffer, weight: Buffer, table: Buffer, rows: Buffer, y: Buffer) -> None:
        share = -(-patches // target.threads)
        with parallel(target.threads) as part:
            with guarded(part == 0):
                _copy_leading(spec, table, y)
            with guarded(part < target.threads):
                count = tirx.max(tirx.min(patches - part * share, share), 0)
                _gather(spec, grid[1], image, rows, part, part * share, count)
                _multiply(spec, target, weight, table, rows, y, part, part * share, count)

    symbol = f"patch_embed_{spec.channels}x{spec.height}x{spec.width}_{spec.patch}_{spec.dim}_{spec.leading}"
    return define(symbol, operands, body)


def _copy_leading(spec: PatchEmbed, table: Buffer, y: Buffer) -> None:
    if spec.leading:
        with T.grid(spec.leading, spec.dim) as (row, column):
            T.buffer_store(y, table[row, column], [row, column])


def _gather(spec: PatchEmbed, across: int, image: Buffer, rows: Buffer, part: Expr, first: Expr, count: Expr) -> None:
    """rows[part, i] = the pixels of patch first + i, channel by channel, line by line."""
    patch = spec.patch
    with T.serial(count) as index:
        top, left = (first + index) // across * patch, (first + index) % across * patch
        with T.grid(spec.channels, patch) as (channel, line):
            with T.vectorized(patch) as pixel:
                place = (channel * patch + line) * patch + pixel
                T.buffer_store(rows, image[0, channel, top + line, left + pixel], [part, index, place])


def _multiply(
    spec: PatchEmbed,
    target: CpuTarget,
    weight: Buffer,
    table: Buffer,
    rows: Buffer,
    y: Buffer,
    part: Expr,
    first: Expr,
    count: Expr,
) -> None:
    depth, column = spec.channels * spec.patch**2, 0
    for width, valid in panels(spec.dim, target):

        def tile(height: int, at: Expr, width: int = width, valid: int = valid, column: int = column) -> None:
            sums = register_tile(
                height,
                width,
                depth,
                lambda row, k: rows[part, at + row, k],
                lambda k: lambda lane: weight[column * depth + k * width + lane],
                lambda row: lambda lane: f32(0.0),
            )
            token = spec.leading + first + at
            store_tile(y, sums, (width, valid), "", lambda row, lane: (token + row, column + lane), table)

        dynamic_tiles(count, tile_rows(width, target), RowShare(part * 0, 1), tile)
        column += width
