"""Blocks of integers in another order, some of them constant."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QMove
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, within
from edgemtl.tvm_bridge.kernels.vectors import each_row, for_vectors, load, store

WIDEST = 32
"""Elements of a vector."""


def pack(spec: QMove, target: CpuTarget, fill: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, ...]:
    """Both as they are."""
    return fill, index


@cache
def build(spec: QMove, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, fill, index, y; indices beyond both are cut off."""
    operands = [
        Operand("x", (spec.count, spec.width), spec.dtype, "input"),
        Operand("fill", (spec.fills, spec.width), spec.dtype, "weight"),
        Operand("index", (spec.rows,), "int32", "weight"),
        Operand("y", (spec.rows, spec.width), spec.dtype, "output"),
    ]

    def body(x: Buffer, fill: Buffer, index: Buffer, y: Buffer) -> None:
        def row(at: Expr) -> None:
            source = T.bind(within(index[at], i32(0), i32(spec.count + spec.fills - 1)))

            def copy(buffer: Buffer, first: Expr) -> None:
                for_vectors(
                    spec.width,
                    WIDEST,
                    lambda lanes, column: store(y, (at, column), lanes, load(buffer, (first, column), lanes)),
                )

            with guarded(source < spec.count):
                copy(x, source)
            with guarded(source >= spec.count):
                copy(fill, source - spec.count)

        each_row(spec.rows, target, row)

    return define(f"qmove_{spec.dtype}_{spec.count}_{spec.fills}_{spec.width}_{spec.rows}", operands, body)
