"""Functions of 16 bits by tables of knots, value by value."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.law_weightless import CURVE_KNOTS
from edgemtl.operators import QCurve
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import Run, broadcast_axes, each_run
from edgemtl.tvm_bridge.kernels.emit import Buffer, define, i32


def pack(spec: QCurve, target: CpuTarget, table: np.ndarray) -> tuple[np.ndarray, ...]:
    """The table as it is."""
    return (table,)


@cache
def build(spec: QCurve, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, table, y."""
    operands = [
        Operand("x", (spec.size,), "int16", "input"),
        Operand("table", (CURVE_KNOTS,), "int16", "weight"),
        Operand("y", (spec.size,), "int16", "output"),
    ]

    def body(x: Buffer, table: Buffer, y: Buffer) -> None:
        def run(part: Run) -> None:
            above = T.bind(x[part.index].astype("int32") + i32(2**15))
            knot = T.bind(above >> i32(8))
            low, high = (T.bind(table[knot + i32(side)].astype("int32")) for side in range(2))
            rise = ((high - low) * (above & i32(255)) + i32(128)) >> i32(8)
            T.buffer_store(y, (low + rise).astype("int16"), [part.index])

        each_run(broadcast_axes((spec.size,), [(spec.size,)]), 1, target, run)

    return define(f"qcurve_{spec.size}", operands, body)
