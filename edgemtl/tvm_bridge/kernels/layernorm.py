"""Layer normalisation: mean and variance in two passes over each row, vectors of lanes summed in a fixed tree."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import LayerNorm
from edgemtl.processor import CpuTarget
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
    pieces,
    reduce_lanes,
    vector_store,
)


def pack(spec: LayerNorm, target: CpuTarget, scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift [dim], as they are."""
    return np.ascontiguousarray(scale, np.float32), np.ascontiguousarray(shift, np.float32)


# Sums in flight, to hide the latency of additions.
REGISTERS = 4


@cache
def build(spec: LayerNorm, target: CpuTarget) -> Kernel:
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
    spec: LayerNorm, target: CpuTarget, x: Buffer, scale: Buffer, shift: Buffer, y: Buffer, row: Expr
) -> None:
    dim, moments = spec.dim, local(2)
    mean = _sum(dim, target, lambda c: x[row, c]) * f32(1 / dim)
    T.buffer_store(moments, mean, [0])
    variance = _sum(dim, target, lambda c: (x[row, c] - moments[0]) * (x[row, c] - moments[0])) * f32(1 / dim)
    T.buffer_store(moments, f32(1.0) / tirx.sqrt(variance + f32(spec.epsilon)), [1])
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


def _sum(dim: int, target: CpuTarget, term: Lane) -> Expr:
    """The sum of term(c) over c < dim: four registers in turn, then vectors of powers of two."""
    lanes = target.lanes
    vectors, total = dim // lanes, f32(0.0)
    sums = [local(lanes) for _ in range(min(vectors, REGISTERS))]
    for index, register in enumerate(sums):
        fill(register, lanes, lambda lane, i=index: term(i * lanes + lane))  # type: ignore[misc]
    with T.serial(max(0, vectors // REGISTERS - 1)) as turn:
        for index, register in enumerate(sums):
            _add(register, lanes, term, ((turn + 1) * REGISTERS + index) * lanes)
    if vectors > REGISTERS:
        for index in range(vectors % REGISTERS):
            _add(sums[index], lanes, term, (vectors // REGISTERS * REGISTERS + index) * lanes)
    if sums:
        total = reduce_lanes(sums, lanes, lambda a, b: a + b)
    for first, width in pieces(dim % lanes):
        rest = local(width)
        fill(rest, width, lambda lane, first=first: term(vectors * lanes + first + lane))  # type: ignore[misc]
        total = total + reduce_lanes([rest], width, lambda a, b: a + b)
    return total


def _add(register: Buffer, lanes: int, term: Lane, first: Expr) -> None:
    fill(register, lanes, lambda lane: register[lane] + term(first + lane))
