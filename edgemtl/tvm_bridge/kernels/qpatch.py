"""Patch embedding of bytes: patches, cut already, times weights, plus a table of positions in 16 bits."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.law import Finish
from edgemtl.operators import QPatchEmbed
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, define
from edgemtl.tvm_bridge.kernels.int8_finish import OutputStage
from edgemtl.tvm_bridge.kernels.int8_tiles import multiplying, pack_bias, pack_scale, pack_weight, packed_words
from edgemtl.tvm_bridge.kernels.qlinear import emit_product
from edgemtl.tvm_bridge.kernels.tiles import padded_width


def pack(
    spec: QPatchEmbed,
    target: CpuTarget,
    weight: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray,
    table: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """W int8 [k, n], b int32 [n], scale words [n], table int16 [leading + patches, n]."""
    factors = multiplying(target, spec.wide)
    return pack_weight(weight, factors), pack_bias(weight, bias, factors), pack_scale(scale, target), table


@cache
def build(spec: QPatchEmbed, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weight, bias, scale, table, y."""
    width, tokens = padded_width(spec.n, target), spec.leading + spec.patches
    factors = multiplying(target, spec.wide)
    operands = [
        Operand("x", (spec.patches, spec.k), "int16" if spec.wide else "int8", "input"),
        Operand("weight", (packed_words(spec.k, spec.n, factors),), "int32", "weight"),
        Operand("bias", (width,), "int32", "weight"),
        Operand("scale", (width,), "float32", "weight"),
        Operand("table", (tokens, spec.n), "int16", "weight"),
        Operand("y", (tokens, spec.n), "int16", "output"),
    ]

    def body(x: Buffer, weight: Buffer, bias: Buffer, scale: Buffer, table: Buffer, y: Buffer) -> None:
        if spec.leading:
            with T.grid(spec.leading, spec.n) as (row, column):
                T.buffer_store(y, table[row, column], [row, column])
        output = OutputStage(target, Finish("int16"), y, residual=table)
        emit_product((spec.patches, spec.k, spec.n), factors, (x, weight, bias, scale), output, spec.leading)

    symbol = f"qpatch_{spec.patches}x{spec.k}x{spec.n}_{spec.leading}{'_wide' if spec.wide else ''}"
    return define(symbol, operands, body)
