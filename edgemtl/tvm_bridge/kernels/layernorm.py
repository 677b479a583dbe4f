"""Layer normalisation: mean and variance in two passes over each row, vectors of lanes summed in a fixed tree."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    Lane,
    define,
    f32,
    fill,
    for_columns,
    guarded,
    local,
    parallel,
    reduce_lanes,
    vector_store,
)
from edgemtl.tvm_bridge.specs import LayerNormSpec
from edgemtl.tvm_bridge.target import CpuTarget


def pack(spec: LayerNormSpec, target: CpuTarget, scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift [dim], as they are."""
    return np.ascontiguousarray(scale, np.float32), np.ascontiguousarray(shift, np.float32)


@cache
def build(spec: LayerNormSpec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, scale, shift, y."""
    shape = (spec.rows, spec.dim)
    operands = [
        Operand("x", shape, "float32", "input"),
        Operand("scale", (spec.dim,), "float32", "weight"),
        Operand("shift", (spec.dim,), "float32", "weight"),
        Operand("y", shape, "float32", "output"),
    ]

    def body(x: Buffer, scale: Buffer, shift: Buffer, y: Buffer) -> None:
        share = -(-spec.rows // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            row = part * share + index
            with guarded(tirx.all(part < target.threads, row < spec.rows)):
                _emit_row(spec, target, x, scale, shift, y, row)

    return define(f"layernorm_{spec.rows}x{spec.dim}_{spec.epsilon:.9g}", operands, body)


def _emit_row(
    spec: LayerNormSpec, target: CpuTarget, x: Buffer, scale: Buffer, shift: Buffer, y: Buffer, row: Expr
) -> None:
    dim, width = spec.dim, 4 * target.lanes
    sums, moments = local(width), local(2)
    _sum(sums, width, dim, lambda c: x[row, c])
    T.buffer_store(moments, sums[0] * f32(1 / dim), [0])
    _sum(sums, width, dim, lambda c: (x[row, c] - moments[0]) * (x[row, c] - moments[0]))
    T.buffer_store(moments, f32(1.0) / tirx.sqrt(sums[0] * f32(1 / dim) + f32(spec.epsilon)), [1])
    for_columns(
        dim,
        target,
        lambda wide, first: vector_store(
            y,
            wide,
            lambda lane: (x[row, first + lane] - moments[0]) * moments[1] * scale[first + lane] + shift[first + lane],
            lambda lane: (row, first + lane),
        ),
    )


def _sum(sums: Buffer, width: int, dim: int, term: Lane) -> None:
    """sums[0] = the sum of term(c) over c < dim: whole vectors first, then the columns left over."""
    whole = dim // width
    fill(sums, width, lambda lane: f32(0.0))
    if whole:
        with T.serial(whole) as index:
            fill(sums, width, lambda lane: sums[lane] + term(index * width + lane))
    with T.serial(dim - whole * width) as rest:
        T.buffer_store(sums, sums[rest] + term(whole * width + rest), [rest])
    reduce_lanes(sums, width, lambda a, b: a + b)
