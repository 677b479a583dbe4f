"""3x3 convolution by Winograd's algorithm, with the bilinear enlargement of its input fused into its first transform.

A block of tiles at a time: transform the windows (V), one matrix product per place in the window (M), transform
back. V and M of a block stay in the second-level cache.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    activate,
    define,
    f32,
    fill,
    guarded,
    local,
    panel_width,
    panels,
    parallel,
    register_tile,
    store_row,
    tile_rows,
    vector_store,
)
from edgemtl.tvm_bridge.kernels.linear import pack_bias, padded_width
from edgemtl.tvm_bridge.kernels.winograd_math import TILE, WINDOW, enlarge_row, input_row, output_row
from edgemtl.tvm_bridge.specs_conv import WinogradSpec
from edgemtl.tvm_bridge.target import CpuTarget

PLACES = WINDOW**2
# V of a block: half of a 2 MiB second-level cache.
BLOCK_BYTES = 1 << 20
# Rows of V are this many values longer than needed, so that they do not all fall into the same cache sets.
ROW_SPARE = 16


def pack(spec: WinogradSpec, target: CpuTarget, bias: np.ndarray) -> tuple[np.ndarray]:
    """Bias [cout], padded."""
    return (pack_bias(bias, target),)


@lru_cache(maxsize=None)
def build(spec: WinogradSpec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, transformed, bias, windows and products (workspaces per part), y."""
    return _Emission(spec, target).kernel()


class _Emission:
    """Emits one convolution; holds what every loop of it needs."""

    x: Buffer
    transformed: Buffer
    bias: Buffer
    windows: Buffer
    products: Buffer
    y: Buffer

    def __init__(self, spec: WinogradSpec, target: CpuTarget) -> None:
        self.spec, self.target = spec, target
        self.down, self.across = -(-spec.height // TILE), -(-spec.width // TILE)
        self.tiles = self.down * self.across
        self.reach = 4 if spec.upsample else WINDOW
        self.row = spec.cin + ROW_SPARE
        self.cut = panels(spec.cout, target)
        self.tall = tile_rows(panel_width(target), target)
        # Few tiles are shared by output channels, each part transforming all windows; many are shared by blocks.
        self.by_channels = self.tiles < 4 * self.tall * target.threads and len(self.cut) >= target.threads
        self.block = self._block_tiles()

    def _block_tiles(self) -> int:
        """Tiles of a block: whole register tiles, fitting the cache, with the least work on tiles not there."""
        most = max(self.tall, BLOCK_BYTES // (4 * PLACES * self.row) // self.tall * self.tall)
        owners = 1 if self.by_channels else self.target.threads
        share = -(-self.tiles // owners)
        blocks = -(-share // most)
        return -(-(-(-share // blocks)) // self.tall) * self.tall

    def kernel(self) -> Kernel:
        """Declare the operands and emit the body."""
        spec, threads = self.spec, self.target.threads
        low = (spec.height // 2, spec.width // 2) if spec.upsample else (spec.height, spec.width)
        columns = padded_width(spec.cout, self.target)
        operands = [
            Operand("x", (*low, spec.cin), "float32", "input"),
            Operand("transformed", (PLACES * spec.cin * columns,), "float32", "input"),
            Operand("bias", (columns,), "float32", "weight"),
            Operand("windows", (threads, self.block, PLACES, self.row), "float32", "workspace"),
            Operand("products", (threads, self.block, PLACES, panel_width(self.target)), "float32", "workspace"),
            Operand("y", (spec.height, spec.width, spec.cout), "float32", "output"),
        ]
        words = (spec.height, spec.width, spec.cin, spec.cout, "up" if spec.upsample else "", spec.activation)
        symbol = "winograd_" + "_".join(str(word) for word in words if word != "")
        macs = spec.height * spec.width * 9 * spec.cin * spec.cout
        return define(symbol, operands, self._body, macs)

    def _body(self, *buffers: Buffer) -> None:
        self.x, self.transformed, self.bias, self.windows, self.products, self.y = buffers
        blocks = -(-self.tiles // self.block)
        with parallel(self.target.threads) as part:
            with guarded(part < self.target.threads):
                if self.by_channels:
                    with T.serial(blocks) as block:
                        self._block(part, block, by_part=True)
                else:
                    first = part * blocks // self.target.threads
                    with T.serial((part + 1) * blocks // self.target.threads - first) as index:
                        self._block(part, first + index, by_part=False)

    def _block(self, part: Expr, block: Expr, by_part: bool) -> None:
        with T.serial(self.block) as tile:
            # The last block repeats the last tile rather than reading past the image.
            place = tirx.min(block * self.block + tile, self.tiles - 1)
            self._read(part, tile, place // self.across, place % self.across)
        column = 0
        for index, (width, valid) in enumerate(self.cut):
            with guarded(tirx.any(not by_part, part == index % self.target.threads)):
                self._multiply(part, column, width)
                with T.serial(self.block) as tile:
                    place = tirx.min(block * self.block + tile, self.tiles - 1)
                    self._write(part, tile, place // self.across, place % self.across, column, width, valid)
            column += width

    def _read(self, part: Expr, tile: Expr, down: Expr, across: Expr) -> None:
        """V of one tile, some channels at a time."""
        lanes, channels = self.target.lanes, self.spec.cin
        if channels // lanes:
            with T.serial(channels // lanes) as chunk:
                self._window(part, tile, down, across, chunk * lanes, lanes)
        if channels % lanes:
            self._window(part, tile, down, across, channels // lanes * lanes + tile * 0, channels % lanes)

    def _window(self, part: Expr, tile: Expr, down: Expr, across: Expr, channel: Expr, lanes: int) -> None:
        """B^T d B of the window of one tile for ``lanes`` channels; samples outside the image are 0."""
        spec, step = self.spec, 2 if self.spec.upsample else TILE
        size = self.x.shape
        columns = [[local(lanes) for _ in range(self.reach)] for _ in range(WINDOW)]
        for b in range(self.reach):
            x = tirx.max(tirx.min(across * step + b - 1, size[1] - 1), 0)
            rows = [tirx.max(tirx.min(down * step + a - 1, size[0] - 1), 0) for a in range(self.reach)]
            samples = self._load(lanes, [(row, x, channel) for row in rows])
            samples = self._samples(lanes, samples, down, self.down, spec.height)
            self._keep([columns[i][b] for i in range(WINDOW)], lanes, samples)
        for i in range(WINDOW):
            samples = self._samples(lanes, columns[i], across, self.across, spec.width)
            done = [local(lanes) for _ in range(WINDOW)]
            self._keep(done, lanes, samples)
            for j in range(WINDOW):
                vector_store(
                    self.windows,
                    lanes,
                    lambda lane, j=j, done=done: done[j][lane],  # type: ignore[misc]
                    lambda lane, i=i, j=j: (part, tile, i * WINDOW + j, channel + lane),  # type: ignore[misc]
                )

    def _load(self, lanes: int, places: list[tuple[Expr, Expr, Expr]]) -> list[Buffer]:
        loaded = [local(lanes) for _ in places]
        for buffer, (row, x, channel) in zip(loaded, places, strict=True):
            fill(buffer, lanes, lambda lane, row=row, x=x, channel=channel: self.x[row, x, channel + lane])  # type: ignore[misc]
        return loaded

    def _samples(self, lanes: int, read: list[Buffer], tile: Expr, tiles: int, size: int) -> list[Buffer]:
        """Six samples of a line, enlarged where asked; the two that may be padding are cleared where they are."""
        out = [local(lanes) for _ in range(WINDOW)]
        # The first sample is padding in the first tile, sample size + 1 - 4 (tiles - 1) in the last.
        clear = {0: tile == 0, size + 1 - TILE * (tiles - 1): tile == tiles - 1}
        for q in range(WINDOW):

            def value(lane: Expr, q: int = q) -> Expr:
                seen = [buffer[lane] for buffer in read]
                sample = enlarge_row(seen, f32)[q] if self.spec.upsample else seen[q]
                return tirx.if_then_else(clear[q], f32(0.0), sample) if q in clear else sample

            fill(out[q], lanes, value)
        return out

    def _keep(self, target: list[Buffer], lanes: int, samples: list[Buffer]) -> None:
        """target = B^T samples."""
        for i in range(WINDOW):
            fill(target[i], lanes, lambda lane, i=i: input_row([s[lane] for s in samples], f32)[i])  # type: ignore[misc]

    def _multiply(self, part: Expr, column: int, width: int) -> None:
        """M = V U for one panel of output channels, place by place."""
        depth = self.spec.cin
        with T.serial(PLACES) as place:
            base = (column * PLACES + place * width) * depth
            with T.serial(self.block // self.tall) as group:
                sums = register_tile(
                    self.tall,
                    width,
                    depth,
                    lambda row, k: self.windows[part, group * self.tall + row, place, k],
                    lambda k: lambda lane: self.transformed[base + k * width + lane],
                    lambda row: lambda lane: f32(0.0),
                )
                for row in range(self.tall):
                    vector_store(
                        self.products,
                        width,
                        lambda lane, row=row: sums[row][lane],  # type: ignore[misc]
                        lambda lane, row=row: (part, group * self.tall + row, place, lane),  # type: ignore[misc]
                    )

    def _write(
        self, part: Expr, tile: Expr, down: Expr, across: Expr, column: int, width: int, valid: int
    ) -> None:
        """A^T m A of one tile for one panel, one vector of channels at a time."""
        lanes = self.target.lanes
        for first in range(0, valid, lanes):
            self._outputs(part, tile, down, across, column, first, min(lanes, valid - first))

    def _outputs(
        self, part: Expr, tile: Expr, down: Expr, across: Expr, column: int, first: int, valid: int
    ) -> None:
        lanes = self.target.lanes
        half = [[local(lanes) for _ in range(WINDOW)] for _ in range(TILE)]
        for b in range(WINDOW):
            seen = [local(lanes) for _ in range(WINDOW)]
            for a in range(WINDOW):
                fill(
                    seen[a],
                    lanes,
                    lambda lane, a=a, b=b: self.products[part, tile, a * WINDOW + b, first + lane],  # type: ignore[misc]
                )
            for i in range(TILE):
                fill(half[i][b], lanes, lambda lane, i=i, seen=seen: output_row([s[lane] for s in seen], f32)[i])  # type: ignore[misc]
        for i in range(TILE):
            for j in range(TILE):
                self._pixel(half[i], j, down * TILE + i, across * TILE + j, (i, j), column + first, valid)

    def _pixel(
        self, row: list[Buffer], j: int, y: Expr, x: Expr, place: tuple[int, int], channel: int, valid: int
    ) -> None:
        """One output pixel, if it is inside the image."""
        spec, lanes = self.spec, self.target.lanes
        out = local(lanes)
        fill(out, lanes, lambda lane: output_row([r[lane] for r in row], f32)[j] + self.bias[channel + lane])
        activate(out, lanes, spec.activation)
        inside = [
            at < size
            for at, size, offset in ((y, spec.height, place[0]), (x, spec.width, place[1]))
            if 0 < size % TILE <= offset
        ]
        condition = tirx.all(*inside) if len(inside) > 1 else inside[0] if inside else None
        if condition is None:
            store_row(self.y, valid, lanes, lambda lane: out[lane], lambda lane: (y, x, channel + lane))
            return
        with guarded(condition):
            store_row(self.y, valid, lanes, lambda lane: out[lane], lambda lane: (y, x, channel + lane))
