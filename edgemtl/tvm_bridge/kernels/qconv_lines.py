"""Blocks of an image's lines with their padding, so that no kernel of a byte convolution tests its borders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QConv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, Lane, for_columns, guarded, parallel, vector_store

# Output pixels of a block, at least.
BLOCK_PIXELS = 128


@dataclass(frozen=True)
class LineBlock:
    """Sizes of a block: its output rows, and the lines, columns and values of the padded copy that they read."""

    rows: int
    lines: int
    columns: int
    size: int


def cut_lines(spec: QConv2d) -> LineBlock:
    """How a convolution is cut into blocks."""
    rows = min(-(-BLOCK_PIXELS // spec.out_width), spec.out_height)
    lines, columns = (
        (count - 1) * stride + (size - 1) * step + 1
        for count, stride, size, step in zip(
            (rows, spec.out_width), spec.stride, spec.kernel, spec.dilation, strict=True
        )
    )
    return LineBlock(rows, lines, columns, lines * columns * spec.cin)


@dataclass(frozen=True)
class Lines:
    """Copies blocks of the flat image ``x`` to ``lines`` [threads, ...], in the type that has."""

    spec: QConv2d
    target: CpuTarget
    block: LineBlock
    x: Buffer
    lines: Buffer

    def for_blocks(self, emit: Callable[[Expr, Expr, Expr], None]) -> None:
        """Copy each block, then ``emit(part, row, rows)`` for its output rows; parts share these."""
        spec, threads, rows = self.spec, self.target.threads, self.block.rows
        with parallel(threads) as part, guarded(part < threads):
            first = T.bind(part * spec.out_height // threads)
            count = T.bind((part + 1) * spec.out_height // threads - first)
            with T.serial((count + rows - 1) // rows) as index:
                row = T.bind(first + index * rows)
                self._copy(part, row * spec.stride[0] - spec.pad[0])
                emit(part, row, tirx.min(count - index * rows, rows))

    def _copy(self, part: Expr, top: Expr) -> None:
        """The lines from ``top`` of the image on, with padding around them."""
        spec, block = self.spec, self.block
        left = min(spec.pad[1], block.columns)
        inside = min(spec.width, block.columns - left)
        with T.serial(block.lines) as index:
            line = T.bind(top + index)
            with T.If(tirx.all(line >= 0, line < spec.height)):
                with T.Then():
                    self._pad(part, index, 0, left)
                    self._copy_line(part, index, line, left, inside)
                    self._pad(part, index, left + inside, block.columns - left - inside)
                with T.Else():
                    self._pad(part, index, 0, block.columns)

    def _pad(self, part: Expr, index: Expr, column: int, count: int) -> None:
        if count:
            start = (index * self.block.columns + column) * self.spec.cin
            zero = tirx.const(self.spec.zero, self.lines.dtype)
            self._fill(part, start, count * self.spec.cin, lambda at: zero)

    def _copy_line(self, part: Expr, index: Expr, line: Expr, left: int, count: int) -> None:
        start = T.bind((index * self.block.columns + left) * self.spec.cin)
        source = T.bind(line * (self.spec.width * self.spec.cin))
        self._fill(part, start, count * self.spec.cin, lambda at: self.x[source + at].astype(self.lines.dtype))

    def _fill(self, part: Expr, start: Expr, count: int, value: Lane) -> None:
        """``count`` values of the copy from ``start`` on."""

        def piece(width: int, first: Expr) -> None:
            vector_store(self.lines, width, lambda lane: value(first + lane), lambda lane: (part, start + first + lane))

        for_columns(count, self.target, piece)
