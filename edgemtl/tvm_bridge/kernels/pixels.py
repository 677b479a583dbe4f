"""Bytes of a frame to float32 or int8 by a table for each channel, in one pass."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Pixels, QPixels
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import flat
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define
from edgemtl.tvm_bridge.kernels.vectors import each_row

LEVELS = 256
ROW = 64
"""Pixels that a thread takes at a time."""


def pack(spec: Pixels | QPixels, target: CpuTarget, table: np.ndarray) -> tuple[np.ndarray, ...]:
    """The tables one behind the other."""
    return (table.reshape(-1),)


@cache
def build(spec: Pixels | QPixels, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, table, y."""
    dtype = "float32" if isinstance(spec, Pixels) else "int8"
    shape = spec.pixels, spec.channels
    operands = [
        Operand("x", shape, "uint8", "input"),
        Operand("table", (spec.channels * LEVELS,), dtype, "weight"),
        Operand("y", shape, dtype, "output"),
    ]
    row = next(size for size in range(min(ROW, spec.pixels), 0, -1) if spec.pixels % size == 0)

    def body(x: Buffer, table: Buffer, y: Buffer) -> None:
        x, y = flat(x), flat(y)

        def convert(index: Expr) -> None:
            with T.serial(row) as pixel:
                for channel in range(spec.channels):
                    at = (index * row + pixel) * spec.channels + channel
                    T.buffer_store(y, table[x[at].astype("int32") + channel * LEVELS], [at])

        each_row(spec.pixels // row, target, convert)

    name = "pixels" if dtype == "float32" else "qpixels"
    return define(f"{name}_{spec.pixels}x{spec.channels}", operands, body)
