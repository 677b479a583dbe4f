"""Loops over the elements of a result and of operands that are broadcast to it as numpy does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, guarded, i32
from edgemtl.tvm_bridge.kernels.vectors import each_row, for_vectors, load, spread

BLOCK = 1024
"""Elements that one thread takes at a time."""


@dataclass(frozen=True)
class BroadcastAxis:
    """An axis of the result: its size, and the distance of neighbours in each operand, 0 where it is repeated."""

    size: int
    strides: tuple[int, ...]


def broadcast_axes(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> list[BroadcastAxis]:
    """The axes of a dense result of ``shape``, neighbours merged that all dense operands see as one."""
    aligned = [(1,) * (len(shape) - len(operand)) + tuple(operand) for operand in operands]
    axes: list[BroadcastAxis] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        strides = tuple(math.prod(sizes[axis + 1 :]) if sizes[axis] > 1 else 0 for sizes in aligned)
        outer = axes[-1] if axes else None
        if outer and outer.strides == tuple(stride * size for stride in strides):
            axes[-1] = BroadcastAxis(outer.size * size, strides)
        else:
            axes.append(BroadcastAxis(size, strides))
    return axes or [BroadcastAxis(1, (0,) * len(operands))]


@dataclass(frozen=True)
class Run:
    """Neighbours of the result: how many, the index of the first, and where each operand has its first."""

    lanes: int
    index: Expr
    starts: tuple[Expr, ...]
    strides: tuple[int, ...]

    def load(self, buffer: Buffer, operand: int) -> Expr:
        """A vector of an operand's elements."""
        if self.strides[operand]:
            return load(buffer, (self.starts[operand],), self.lanes)
        return spread(buffer[self.starts[operand]], self.lanes)

    def at(self, operand: int, lane: Expr) -> Expr:
        """Where the element of a lane lies."""
        return self.starts[operand] + lane * self.strides[operand]


def flat(buffer: Buffer) -> Buffer:
    """The same memory as one axis."""
    size = math.prod(int(extent) for extent in buffer.shape)
    return T.decl_buffer((size,), str(buffer.dtype), data=buffer.data)


def each_run(axes: Sequence[BroadcastAxis], widest: int, target: CpuTarget, emit: Callable[[Run], None]) -> None:
    """Call ``emit`` for runs of up to ``widest`` elements that cover the result, in equal shares for every thread."""
    *outer, inner = axes
    whole, rest = divmod(inner.size, BLOCK)
    blocks = whole + bool(rest)

    def block(piece: Expr) -> None:
        row = tirx.floordiv(piece, i32(blocks))
        part = tirx.floormod(piece, i32(blocks))
        starts = starts_of(outer, row, len(inner.strides))

        def runs(first: Expr, count: int) -> None:
            def run(lanes: int, at: Expr) -> None:
                along = first + at
                places = tuple(start + along * stride for start, stride in zip(starts, inner.strides, strict=True))
                emit(Run(lanes, row * inner.size + along, places, inner.strides))

            for_vectors(count, widest, run)

        if whole:
            with guarded(part < whole):
                runs(T.bind(part * BLOCK), BLOCK)
        if rest:
            with guarded(part == whole):
                runs(T.bind(part * BLOCK), rest)

    each_row(math.prod(axis.size for axis in outer) * blocks, target, block)


def starts_of(outer: Sequence[BroadcastAxis], row: Expr, operands: int) -> list[Expr]:
    """Where the operands' elements of a row of the inner axis begin."""
    starts: list[Expr] = [i32(0)] * operands
    for axis in reversed(outer):
        place = tirx.floormod(row, i32(axis.size))
        row = tirx.floordiv(row, i32(axis.size))
        starts = [start + place * stride for start, stride in zip(starts, axis.strides, strict=True)]
    return [T.bind(start) for start in starts]
