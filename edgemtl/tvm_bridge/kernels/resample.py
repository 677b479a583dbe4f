"""Resizing of images that lie channels-last by taps of rows and of columns."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.law_weightless import LINE_SHIFT, TAP_BITS
from edgemtl.operators import QResample, Resample
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, parallel, within
from edgemtl.tvm_bridge.kernels.vectors import constant, for_vectors, load, saturate, spread, store, vector_type


def pack(spec: Resample | QResample, target: CpuTarget, *taps: np.ndarray) -> tuple[np.ndarray, ...]:
    """The taps as they are."""
    return taps


@cache
def build(spec: Resample | QResample, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, taps (index and weight of rows, then of columns), lines (workspace), y."""
    dtype = "float32" if isinstance(spec, Resample) else spec.dtype
    rounded = LINE_SHIFT if dtype == "int16" else 0
    sums = "float32" if isinstance(spec, Resample) else "int32"
    operands = [
        Operand("x", (spec.height * spec.width, spec.channels), dtype, "input"),
        *_tap_operands("row", (spec.out_height, spec.row_taps), spec.height, sums),
        *_tap_operands("column", (spec.out_width, spec.column_taps), spec.width, sums),
        Operand("lines", (target.threads, spec.width, spec.channels), sums, "workspace"),
        Operand("y", (spec.out_height * spec.out_width, spec.channels), dtype, "output"),
    ]

    def body(
        x: Buffer, rows: Buffer, row_weights: Buffer, columns: Buffer, column_weights: Buffer, lines: Buffer, y: Buffer
    ) -> None:
        def line(part: Expr, row: Expr) -> None:
            """All columns of the source, weighed over the rows that an output row reads."""
            with T.serial(spec.width) as column:

                def values(lanes: int, first: Expr) -> None:
                    total: Expr = None
                    for tap in range(spec.row_taps):
                        source = within(rows[row, tap], i32(0), i32(spec.height - 1))
                        value = load(x, (source * spec.width + column, first), lanes).astype(vector_type(sums, lanes))
                        value = value * spread(row_weights[row, tap], lanes)
                        total = value if total is None else total + value
                    total = _rounded(total, rounded, lanes) if rounded else total
                    store(lines, (part, column, first), lanes, total)

                for_vectors(spec.channels, widest, values)

        def pixels(part: Expr, row: Expr) -> None:
            with T.serial(spec.out_width) as column:

                def values(lanes: int, first: Expr) -> None:
                    total: Expr = None
                    for tap in range(spec.column_taps):
                        source = within(columns[column, tap], i32(0), i32(spec.width - 1))
                        value = load(lines, (part, source, first), lanes)
                        value = value * spread(column_weights[column, tap], lanes)
                        total = value if total is None else total + value
                    if isinstance(spec, QResample):
                        total = saturate(_rounded(total, 2 * TAP_BITS - rounded, lanes), dtype, lanes)
                    store(y, (row * spec.out_width + column, first), lanes, total)

                for_vectors(spec.channels, widest, values)

        widest = 2 * target.lanes
        share = -(-spec.out_height // target.threads)
        with parallel(target.threads) as part, guarded(part < target.threads), T.serial(share) as index:
            row = T.bind(part * share + index)
            with guarded(row < spec.out_height):
                line(part, row)
                pixels(part, row)

    return define(_symbol(spec), operands, body)


def _rounded(value: Expr, shift: int, lanes: int) -> Expr:
    """`arith.round_shift` of a vector int32."""
    half, bits = (constant(number, "int32", lanes) for number in (1 << shift - 1, shift))
    return (value + half) >> bits


def _tap_operands(axis: str, shape: tuple[int, int], size: int, dtype: str) -> list[Operand]:
    """Index and weight of the taps of an axis of ``size`` pixels."""
    index = Operand(f"{axis}_index", shape, "int32", "weight", bounds=(0, size - 1))
    return [index, Operand(f"{axis}_weight", shape, dtype, "weight")]


def _symbol(spec: Resample | QResample) -> str:
    sizes = (spec.height, spec.width, spec.channels, spec.out_height, spec.out_width, spec.row_taps, spec.column_taps)
    dtype = "float32" if isinstance(spec, Resample) else spec.dtype
    return f"resample_{dtype}_" + "_".join(map(str, sizes))
