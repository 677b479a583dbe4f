"""Depthwise convolution: every channel has its own window of weights, so vectors run over channels."""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Conv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.conv_rows import row_tiles
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    activate,
    define,
    fill,
    guarded,
    local,
    parallel,
    vector_store,
)

# Pixels of a register tile: as many accumulators hide the latency of two multiply-add units.
PIXELS = 8


def is_depthwise(spec: Conv2d) -> bool:
    """Whether every channel is a group of its own."""
    return spec.groups == spec.cin == spec.cout


def pack(spec: Conv2d, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight [channels, 1, kh, kw] as [kh, kw, channels], and bias."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0), np.float32), bias.astype(np.float32)


def build(symbol: str, spec: Conv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, y."""
    operands = [
        Operand("x", (spec.height, spec.width, spec.cin), "float32", "input"),
        Operand("weight", (*spec.kernel, spec.cin), "float32", "weight"),
        Operand("bias", (spec.cin,), "float32", "weight"),
        Operand("y", (spec.out_height, spec.out_width, spec.cin), "float32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        parts, lanes = target.threads, target.lanes
        with parallel(parts) as part, guarded(part < parts):
            first = part * spec.out_height // parts
            with T.serial((part + 1) * spec.out_height // parts - first) as index:
                row = T.bind(first + index)
                if spec.cin // lanes:
                    with T.serial(spec.cin // lanes) as vector:
                        _row(spec, buffers, row, vector * lanes, lanes)
                if spec.cin % lanes:
                    _row(spec, buffers, row, row * 0 + spec.cin // lanes * lanes, spec.cin % lanes)

    return define(symbol, operands, body)


def _row(spec: Conv2d, buffers: tuple[Buffer, ...], row: Expr, channel: Expr, lanes: int) -> None:
    """One output row for one vector of channels."""
    x, weight, bias, y = buffers

    def tile(left: Expr, count: int, tested: bool) -> None:
        sums = [local(lanes) for _ in range(count)]
        for total in sums:
            fill(total, lanes, lambda lane: bias[channel + lane])
        with T.grid(*spec.kernel) as (ky, kx):
            line = row * spec.stride[0] + ky * spec.dilation[0] - spec.pad[0]
            with guarded(tirx.all(line >= 0, line < spec.height)):
                for pixel, total in enumerate(sums):
                    place = (left + pixel) * spec.stride[1] + kx * spec.dilation[1] - spec.pad[1]
                    _add(
                        total,
                        lanes,
                        x,
                        (line, place, channel),
                        (weight, ky, kx),
                        spec.width if tested else None,
                    )
        for pixel, total in enumerate(sums):
            activate(total, lanes, spec.activation)
            vector_store(
                y,
                lanes,
                lambda lane, total=total: total[lane],  # type: ignore[misc]
                lambda lane, pixel=pixel: (row, left + pixel, channel + lane),  # type: ignore[misc]
            )

    row_tiles(spec, PIXELS, row, tile)


def _add(
    total: Buffer,
    lanes: int,
    x: Buffer,
    at: tuple[Expr, Expr, Expr],
    tap: tuple[Buffer, Expr, Expr],
    width: int | None,
) -> None:
    """Add one tap of the window to a pixel; with a ``width`` only where the tap lies inside it."""
    (line, place, channel), (weight, ky, kx) = at, tap

    def add() -> None:
        fill(
            total,
            lanes,
            lambda lane: total[lane] + x[line, place, channel + lane] * weight[ky, kx, channel + lane],
        )

    if width is None:
        add()
    else:
        with guarded(tirx.all(place >= 0, place < width)):
            add()
