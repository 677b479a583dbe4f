"""Direct convolution, channels-last: register tiles of output pixels along a row by output channels.

It needs no transformed weights and no padded copy of its input: tiles whose window crosses the border test
each pixel, the others do not.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Conv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import conv_depthwise
from edgemtl.tvm_bridge.kernels.conv_depthwise import is_depthwise
from edgemtl.tvm_bridge.kernels.conv_rows import row_tiles
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    activate,
    define,
    f32,
    fill,
    guarded,
    local,
    panels,
    parallel,
    store_row,
    tile_rows,
)
from edgemtl.tvm_bridge.kernels.tiles import pack_bias, pack_panels, padded_width


def _taps(spec: Conv2d) -> int:
    """Products of one output value: window times input channels of its group."""
    return spec.kernel[0] * spec.kernel[1] * (spec.cin // spec.groups)


def pack(spec: Conv2d, target: CpuTarget, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight [cout, cin / groups, kh, kw] and bias [cout], in panels of columns over (kh, kw, channel)."""
    if is_depthwise(spec):
        return conv_depthwise.pack(spec, weight, bias)
    rows = weight.transpose(0, 2, 3, 1).reshape(spec.groups, -1, _taps(spec))
    packed = [pack_panels(group.T, target) for group in rows]
    return np.concatenate(packed), np.concatenate([pack_bias(b, target) for b in np.split(bias, spec.groups)])


@cache
def build(spec: Conv2d, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, y."""
    numbers = (spec.height, spec.width, spec.cin, spec.cout, *spec.kernel, *spec.stride, *spec.pad)
    words = (*numbers, *spec.dilation, spec.groups, *([spec.activation] if spec.activation else []))
    symbol = "conv_" + "_".join(map(str, words))
    if is_depthwise(spec):
        return conv_depthwise.build(symbol, spec, target)
    columns = spec.groups * padded_width(spec.cout // spec.groups, target)
    operands = [
        Operand("x", (spec.height, spec.width, spec.cin), "float32", "input"),
        Operand("weight", (_taps(spec) * columns,), "float32", "weight"),
        Operand("bias", (columns,), "float32", "weight"),
        Operand("y", (spec.out_height, spec.out_width, spec.cout), "float32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        _DirectConv(spec, target, *buffers).emit()

    return define(symbol, operands, body)


class _DirectConv:
    """Emits one convolution; holds what every tile needs."""

    def __init__(self, spec: Conv2d, target: CpuTarget, x: Buffer, weight: Buffer, bias: Buffer, y: Buffer) -> None:
        self.spec, self.target = spec, target
        self.x, self.weight, self.bias, self.y = x, weight, bias, y
        self.width = spec.cout // spec.groups
        self.stripe = padded_width(self.width, target)

    def emit(self) -> None:
        """Items of work: (group, panel) by shares of the output's rows."""
        spec, shares = self.spec, self.target.threads
        cut = panels(self.width, self.target)
        with parallel(spec.groups * shares) as item:
            group, share = item // shares, item % shares
            first = share * spec.out_height // shares
            with guarded(group < spec.groups):
                column: Expr = group * 0
                for (width, valid), equal in groupby(cut):
                    count = len(list(equal))
                    with T.grid(count, (share + 1) * spec.out_height // shares - first) as (panel, row):
                        self._row(group, width, valid, column + panel * width, first + row)
                    column = column + count * width

    def _row(self, group: Expr, width: int, valid: int, column: Expr, row: Expr) -> None:
        """One output row of one panel."""

        def tile(left: Expr, count: int, tested: bool) -> None:
            self._tile(group, width, valid, column, row, left, count, tested)

        row_tiles(self.spec, tile_rows(width, self.target), row, tile)

    def _tile(
        self,
        group: Expr,
        width: int,
        valid: int,
        column: Expr,
        row: Expr,
        left: Expr,
        count: int,
        tested: bool,
    ) -> None:
        spec = self.spec
        sums = [local(width) for _ in range(count)]
        for pixel in range(count):
            fill(sums[pixel], width, lambda lane: self.bias[group * self.stripe + column + lane])
        with T.grid(*spec.kernel) as (ky, kx):
            line = row * spec.stride[0] + ky * spec.dilation[0] - spec.pad[0]
            with guarded(tirx.all(line >= 0, line < spec.height)):
                self._accumulate(sums, group, width, column, (line, ky, kx), left, tested)
        for pixel in range(count):
            activate(sums[pixel], width, spec.activation)
            store_row(
                self.y,
                valid,
                width,
                lambda lane, pixel=pixel: sums[pixel][lane],  # type: ignore[misc]
                lambda lane, pixel=pixel: (row, left + pixel, group * self.width + column + lane),  # type: ignore[misc]
            )

    def _accumulate(
        self,
        sums: list[Buffer],
        group: Expr,
        width: int,
        column: Expr,
        window: tuple[Expr, Expr, Expr],
        left: Expr,
        tested: bool,
    ) -> None:
        """Add the products of one tap of the window for every pixel of the tile."""
        spec, (line, ky, kx) = self.spec, window
        channels, taps = spec.cin // spec.groups, _taps(spec)
        base = group * self.stripe * taps + column * taps + (ky * spec.kernel[1] + kx) * channels * width
        with T.serial(channels) as k:
            for pixel, total in enumerate(sums):
                place = (left + pixel) * spec.stride[1] + kx * spec.dilation[1] - spec.pad[1]
                value = self.x[line, place, group * channels + k]
                if tested:
                    value = tirx.if_then_else(tirx.all(place >= 0, place < spec.width), value, f32(0.0))
                fill(
                    total,
                    width,
                    lambda lane, total=total, value=value: total[lane] + value * self.weight[base + k * width + lane],  # type: ignore[misc]
                )
