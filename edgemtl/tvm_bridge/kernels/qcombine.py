"""Every token gathers the int16 results of its k experts, weighted with 15 fraction bits, in int32.

The residual comes after the shift: round_shift(residual * 2^15 + sum, 15) is residual + round_shift(sum, 15), exactly,
and only the former could leave int32.
"""

from __future__ import annotations

from functools import cache

from tvm.script.ir_builder import tirx as T

from edgemtl.hw.law import GATE_BITS
from edgemtl.operators import QCombine
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, within
from edgemtl.tvm_bridge.kernels.vectors import constant, each_row, for_vectors, load, saturate, spread, store


@cache
def build(spec: QCombine, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weights, slots[, residual], y."""
    shape = (spec.tokens, spec.dim)
    operands = [
        Operand("x", (spec.tokens * spec.top_k, spec.dim), "int16", "input"),
        Operand("weights", (spec.tokens, spec.top_k), "int32", "input"),
        Operand("slots", (spec.tokens, spec.top_k), "int32", "input"),
        *([Operand("residual", shape, "int16", "input")] if spec.residual else []),
        Operand("y", shape, "int16", "output"),
    ]

    def body(x: Buffer, weights: Buffer, slots: Buffer, *rest: Buffer) -> None:
        def row(token: Expr) -> None:
            last = i32(spec.tokens * spec.top_k - 1)
            places = [T.bind(within(slots[token, k], i32(0), last)) for k in range(spec.top_k)]
            chosen = [(T.bind(weights[token, k]), place) for k, place in enumerate(places)]

            def columns(lanes: int, first: Expr) -> None:
                wide, total = f"int32x{lanes}", constant(1 << GATE_BITS - 1, "int32", lanes)
                for weight, slot in chosen:
                    total = total + spread(weight, lanes) * load(x, (slot, first), lanes).astype(wide)
                total = total >> constant(GATE_BITS, "int32", lanes)
                if spec.residual:
                    total = total + load(rest[0], (token, first), lanes).astype(wide)
                store(rest[-1], (token, first), lanes, saturate(total, "int16", lanes))

            for_vectors(spec.dim, 2 * target.lanes, columns)

        each_row(spec.tokens, target, row)

    suffix = "_residual" if spec.residual else ""
    symbol = f"qcombine_{spec.tokens}x{spec.top_k}x{spec.dim}{suffix}"
    return define(symbol, operands, body)
