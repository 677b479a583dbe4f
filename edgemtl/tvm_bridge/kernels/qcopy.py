"""Copy of bytes or 16-bit values between two strided views, cut as the copy of float32 is."""

from __future__ import annotations

import math
from functools import cache

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Copy, QCopy
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import copy
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, local
from edgemtl.tvm_bridge.kernels.vectors import each_row, load, store


@cache
def build(spec: QCopy, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x and y, each as long as its strides reach."""
    dtype = f"int{8 * spec.itemsize}"
    operands = [
        Operand("x", (copy.reach(spec.shape, spec.source_strides),), dtype, "input"),
        Operand("y", (copy.reach(spec.shape, spec.target_strides),), dtype, "output"),
    ]
    axes = copy.merged_axes(Copy(spec.shape, spec.source_strides, spec.target_strides))

    def body(x: Buffer, y: Buffer) -> None:
        inner, contiguous = axes[-1], next((axis for axis in axes if axis.source == 1), None)
        if inner.target != 1 or contiguous is None:
            copy.copy_values(axes, target, x, y)
        elif inner is contiguous:
            copy.copy_rows(axes, target, x, y)
        else:
            _tiles(axes, contiguous, target, x, y)

    parts = (spec.shape, spec.source_strides, spec.target_strides)
    words = "_".join("x".join(map(str, part)) for part in parts)
    return define(f"qcopy{spec.itemsize}_{words}", operands, body)


def _tiles(axes: list[copy.CopyAxis], contiguous: copy.CopyAxis, target: CpuTarget, x: Buffer, y: Buffer) -> None:
    """Tiles transposed in registers; the last one of a line begins earlier rather than being smaller."""
    inner, outer = axes[-1], [axis for axis in axes[:-1] if axis is not contiguous]
    across, along = (min(axis.size, target.lanes) for axis in (contiguous, inner))
    rows, columns = -(-inner.size // along), -(-contiguous.size // across)

    def tile(piece: Expr) -> None:
        source, goal = copy.offsets(outer, tirx.floordiv(piece, i32(rows * columns)))
        column = tirx.floormod(tirx.floordiv(piece, i32(rows)), i32(columns)) * across
        column = T.bind(tirx.min(column, i32(contiguous.size - across)))
        row = T.bind(tirx.min(tirx.floormod(piece, i32(rows)) * along, i32(inner.size - along)))
        transposed = local(along * across, x.dtype)
        for index in range(along):
            place = source + column + (row + index) * inner.source
            store(transposed, (i32(index * across),), across, load(x, (place,), across))
        for index in range(across):
            value = transposed.vload([T.Ramp(i32(index), across, along)]) if along > 1 else transposed[index]
            store(y, (goal + (column + index) * contiguous.target + row,), along, value)

    each_row(rows * columns * math.prod(axis.size for axis in outer), target, tile)
