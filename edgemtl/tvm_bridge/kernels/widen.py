"""Bytes as integers of 64 bits, value by value."""

from __future__ import annotations

from functools import cache

from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Widen
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import Run, broadcast_axes, each_run
from edgemtl.tvm_bridge.kernels.emit import Buffer, define


@cache
def build(spec: Widen, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, y."""
    operands = [Operand("x", (spec.size,), "uint8", "input"), Operand("y", (spec.size,), "int64", "output")]

    def body(x: Buffer, y: Buffer) -> None:
        def run(part: Run) -> None:
            T.buffer_store(y, x[part.index].astype("int64"), [part.index])

        each_run(broadcast_axes((spec.size,), [(spec.size,)]), 1, target, run)

    return define(f"widen_{spec.size}", operands, body)
