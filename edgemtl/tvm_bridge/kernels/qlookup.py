"""Bytes by tables: one for all, or one for each column."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QLookup
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import Run, broadcast_axes, each_run, flat
from edgemtl.tvm_bridge.kernels.emit import Buffer, define, i32, local
from edgemtl.tvm_bridge.kernels.int8_finish import PERMUTED, TABLE_BYTES, look_up
from edgemtl.tvm_bridge.kernels.vectors import each_row, load, store


def pack(spec: QLookup, target: CpuTarget, table: np.ndarray) -> tuple[np.ndarray, ...]:
    """The tables one behind the other."""
    return (table.reshape(-1),)


@cache
def build(spec: QLookup, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, table, y."""
    size = spec.rows * spec.columns
    tables = spec.columns if spec.by_column else 1
    operands = [
        Operand("x", (spec.rows, spec.columns), "int8", "input"),
        Operand("table", (tables * TABLE_BYTES,), "int8", "weight"),
        Operand("y", (spec.rows, spec.columns), "int8", "output"),
    ]

    def body(x: Buffer, table: Buffer, y: Buffer) -> None:
        x, y = flat(x), flat(y)

        def run(part: Run) -> None:
            levels = local(max(part.lanes, PERMUTED), "int8")
            store(levels, (i32(0),), part.lanes, load(x, (part.index,), part.lanes))
            values = look_up(levels, table, part.lanes, target)
            store(y, (part.index,), part.lanes, load(values, (i32(0),), part.lanes))

        def row(index: T.Expr) -> None:
            with T.serial(spec.columns) as column:
                at = index * spec.columns + column
                entry = x[at].astype("int32") + (column * TABLE_BYTES + TABLE_BYTES // 2)
                T.buffer_store(y, table[entry], [at])

        if spec.by_column:
            each_row(spec.rows, target, row)
        else:
            each_run(broadcast_axes((size,), [(size,)]), PERMUTED, target, run)

    return define(f"qlookup_{spec.rows}x{spec.columns}_{tables}", operands, body)
