"""Bytes of a frame to float32 or int8 by a table for each channel, in one pass."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Pixels, QPixelPatches, QPixels
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import flat
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define
from edgemtl.tvm_bridge.kernels.vectors import each_row

LEVELS = 256
ROW = 64
"""Pixels that a thread takes at a time."""


def pack(spec: Pixels | QPixels | QPixelPatches, target: CpuTarget, table: np.ndarray) -> tuple[np.ndarray, ...]:
    """The tables one behind the other."""
    return (table.reshape(-1),)


@cache
def build(spec: Pixels | QPixels | QPixelPatches, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, table, y."""
    return _patches(spec, target) if isinstance(spec, QPixelPatches) else _rows(spec, target)


def _rows(spec: Pixels | QPixels, target: CpuTarget) -> Kernel:
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


def _patches(spec: QPixelPatches, target: CpuTarget) -> Kernel:
    """A thread takes rows of the image: the pixels of one row of a patch become a row of each of its planes."""
    c, patch, across = spec.channels, spec.patch, spec.width // spec.patch
    operands = [
        Operand("x", (1, spec.height, spec.width, c), "uint8", "input"),
        Operand("table", (c * LEVELS,), "int8", "weight"),
        Operand("y", (spec.height // patch * across, c * patch**2), "int8", "output"),
    ]

    def body(x: Buffer, table: Buffer, y: Buffer) -> None:
        x, y = flat(x), flat(y)

        def cut(row: Expr) -> None:
            first, line = tirx.floordiv(row, patch) * across, tirx.floormod(row, patch) * patch
            with T.serial(across) as at:
                source = T.bind((row * spec.width + at * patch) * c)
                goal = T.bind((first + at) * (c * patch**2) + line)
                with T.serial(patch) as pixel:
                    for channel in range(c):
                        byte = x[source + pixel * c + channel].astype("int32")
                        T.buffer_store(y, table[byte + channel * LEVELS], [goal + channel * patch**2 + pixel])

        each_row(spec.height, target, cut)

    return define(f"qpixel_patches_{spec.height}x{spec.width}x{c}_p{patch}", operands, body)
