"""Every token gathers the results of its k experts: no scatter, so the same order of additions always."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Combine
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    for_columns,
    guarded,
    i32,
    parallel,
    vector_store,
    within,
)


@cache
def build(spec: Combine, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, weights, slots[, residual], y."""
    shape = (spec.tokens, spec.dim)
    operands = [
        Operand("x", (spec.tokens * spec.top_k, spec.dim), "float32", "input"),
        Operand("weights", (spec.tokens, spec.top_k), "float32", "input"),
        Operand("slots", (spec.tokens, spec.top_k), "int32", "input"),
        *([Operand("residual", shape, "float32", "input")] if spec.residual else []),
        Operand("y", shape, "float32", "output"),
    ]

    def body(x: Buffer, weights: Buffer, slots: Buffer, *rest: Buffer) -> None:
        def value(token: Expr, places: list[Expr], column: Expr) -> Expr:
            total = weights[token, 0] * x[places[0], column]
            for choice in range(1, spec.top_k):
                total = total + weights[token, choice] * x[places[choice], column]
            return rest[0][token, column] + total if spec.residual else total

        share = -(-spec.tokens // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            token = part * share + index
            with guarded(tirx.all(part < target.threads, token < spec.tokens)):
                last = i32(spec.tokens * spec.top_k - 1)
                places = [T.bind(within(slots[token, choice], i32(0), last)) for choice in range(spec.top_k)]
                for_columns(
                    spec.dim,
                    target,
                    lambda width, first: vector_store(
                        rest[-1],
                        width,
                        lambda lane: value(token, places, first + lane),
                        lambda lane: (token, first + lane),
                    ),
                )

    suffix = "_residual" if spec.residual else ""
    symbol = f"combine_{spec.tokens}x{spec.top_k}x{spec.dim}{suffix}"
    return define(symbol, operands, body)
