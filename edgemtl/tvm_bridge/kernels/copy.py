"""Copy between two strided views: layouts that no kernel could take as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Copy
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, for_columns, guarded, parallel, vector_store
from edgemtl.tvm_bridge.kernels.layout import transpose


@dataclass(frozen=True)
class CopyAxis:
    """One axis of a copy: its size, and the distance of neighbours in the source and in the target."""

    size: int
    source: int
    target: int


@cache
def build(spec: Copy, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x and y, each as long as its strides reach."""
    operands = [
        Operand("x", (reach(spec.shape, spec.source_strides),), "float32", "input"),
        Operand("y", (reach(spec.shape, spec.target_strides),), "float32", "output"),
    ]
    axes = merged_axes(spec)

    def body(x: Buffer, y: Buffer) -> None:
        inner, contiguous = axes[-1], next((axis for axis in axes if axis.source == 1), None)
        if inner.target != 1 or contiguous is None:
            copy_values(axes, target, x, y)
        elif inner is contiguous:
            copy_rows(axes, target, x, y)
        else:
            _tiles(axes, contiguous, target, x, y)

    words = "_".join("x".join(map(str, part)) for part in (spec.shape, spec.source_strides, spec.target_strides))
    return define(f"copy_{words}", operands, body)


def merged_axes(spec: Copy) -> list[CopyAxis]:
    """The axes in the order of the target's memory, neighbours that are one axis in both views merged."""
    named = zip(spec.shape, spec.source_strides, spec.target_strides, strict=True)
    ordered = sorted((CopyAxis(*axis) for axis in named if axis[0] > 1), key=lambda axis: -axis.target)
    merged: list[CopyAxis] = []
    for axis in ordered:
        outer = merged[-1] if merged else None
        if outer and (outer.source, outer.target) == (axis.size * axis.source, axis.size * axis.target):
            merged[-1] = CopyAxis(outer.size * axis.size, axis.source, axis.target)
        else:
            merged.append(axis)
    return merged or [CopyAxis(1, 1, 1)]


def reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _each(total: int, target: CpuTarget, emit: Callable[[Expr], None]) -> None:
    """Call ``emit(index)`` in a loop over ``total`` pieces of work in equal shares for every part."""
    share = -(-total // target.threads)
    with parallel(target.threads) as part, T.serial(share) as index:
        piece = part * share + index
        with guarded(piece < total):
            emit(piece)


def copy_values(axes: list[CopyAxis], target: CpuTarget, x: Buffer, y: Buffer) -> None:
    """Value by value, the last axis in a loop."""

    def row(piece: Expr) -> None:
        source, goal = offsets(axes[:-1], piece)
        with T.serial(axes[-1].size) as index:
            T.buffer_store(y, x[source + index * axes[-1].source], [goal + index * axes[-1].target])

    _each(math.prod(axis.size for axis in axes[:-1]), target, row)


def copy_rows(axes: list[CopyAxis], target: CpuTarget, x: Buffer, y: Buffer) -> None:
    """Contiguous rows in vectors."""

    def row(piece: Expr) -> None:
        source, goal = offsets(axes[:-1], piece)

        def copy(width: int, first: Expr) -> None:
            vector_store(y, width, lambda lane: x[source + first + lane], lambda lane: (goal + first + lane,))

        for_columns(axes[-1].size, target, copy)

    _each(math.prod(axis.size for axis in axes[:-1]), target, row)


def _tiles(axes: list[CopyAxis], contiguous: CopyAxis, target: CpuTarget, x: Buffer, y: Buffer) -> None:
    """Tiles transposed in registers; the last one of a line begins earlier rather than being smaller."""
    inner, outer = axes[-1], [axis for axis in axes[:-1] if axis is not contiguous]
    sides = [min(axis.size, target.lanes) for axis in (contiguous, inner)]
    counts = [-(-axis.size // side) for axis, side in zip((contiguous, inner), sides, strict=True)]

    def tile(piece: Expr) -> None:
        source, goal = offsets(outer, tirx.floordiv(piece, counts[0] * counts[1]))
        across = tirx.floormod(tirx.floordiv(piece, counts[1]), counts[0]) * sides[0]
        along = tirx.floormod(piece, counts[1]) * sides[1]
        across = T.bind(tirx.min(across, contiguous.size - sides[0]))
        along = T.bind(tirx.min(along, inner.size - sides[1]))
        read, write = source + across + along * inner.source, goal + across * contiguous.target + along
        transpose(
            sides[1],
            sides[0],
            lambda row: lambda lane: x[read + row * inner.source + lane],
            lambda column, value: vector_store(
                y, sides[1], value, lambda lane: (write + column * contiguous.target + lane,)
            ),
        )

    _each(math.prod((*counts, *(axis.size for axis in outer))), target, tile)


def offsets(axes: list[CopyAxis], place: Expr) -> tuple[Expr, Expr]:
    """Where the ``place``-th combination of indices lies in the source and in the target."""
    source: Expr = place * 0
    goal: Expr = place * 0
    for axis in reversed(axes):
        index = tirx.floormod(place, axis.size)
        source, goal = source + index * axis.source, goal + index * axis.target
        place = tirx.floordiv(place, axis.size)
    return T.bind(source), T.bind(goal)
