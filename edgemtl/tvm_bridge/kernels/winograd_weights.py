"""3x3 weights to Winograd's form, U = G g G^T in double precision; run once when a program is loaded."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import WinogradWeights
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    fill,
    guarded,
    local,
    panels,
    parallel,
    vector_store,
)
from edgemtl.tvm_bridge.kernels.tiles import pack_panels
from edgemtl.tvm_bridge.kernels.winograd_math import KERNEL, PLACES, WINDOW, weight_matrix


def pack(spec: WinogradWeights, target: CpuTarget, weight: np.ndarray) -> tuple[np.ndarray]:
    """Weight [cout, cin, 3, 3] as the direct convolution packs it, so that both store the same bytes."""
    return (pack_panels(weight.transpose(2, 3, 1, 0).reshape(-1, spec.cout), target),)


@cache
def build(spec: WinogradWeights, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands raw, transformed (flat: panel by panel [36, cin, width])."""
    columns = spec.columns
    operands = [
        Operand("raw", (KERNEL**2 * spec.cin * columns,), "float32", "weight"),
        Operand("transformed", (PLACES * spec.cin * columns,), "float32", "output"),
    ]

    def body(raw: Buffer, transformed: Buffer) -> None:
        start = 0
        for width, equal in groupby(width for width, _ in panels(spec.cout, target)):
            count, vectors = len(list(equal)), width // target.lanes
            with parallel(count * vectors) as item, guarded(item < count * vectors):
                column = T.bind(start + item // vectors * width)
                with T.serial(spec.cin) as channel:
                    first = channel * width + item % vectors * target.lanes
                    source, goal = column * KERNEL**2 * spec.cin + first, column * PLACES * spec.cin + first
                    _transform(spec, target.lanes, (raw, source), (transformed, goal), spec.cin * width)
            start += count * width

    suffix = "_up" if spec.upsample else ""
    return define(f"winograd_weights_{spec.cin}x{spec.cout}{suffix}", operands, body)


def _transform(
    spec: WinogradWeights, lanes: int, source: tuple[Buffer, Expr], goal: tuple[Buffer, Expr], step: int
) -> None:
    """G g G^T of one input channel and one vector of output channels; places lie ``step`` values apart."""
    (raw, read), (transformed, write), matrix = source, goal, weight_matrix(spec.upsample)
    half = [[local(lanes, "float64") for _ in range(KERNEL)] for _ in range(WINDOW)]

    def tap(row: int, across: int, lane: Expr) -> Expr:
        return raw[read + (row * KERNEL + across) * step + lane].astype("float64")

    for i in range(WINDOW):
        for b in range(KERNEL):
            taps = [(matrix[i, a], lambda lane, a=a, b=b: tap(a, b, lane)) for a in range(KERNEL)]
            fill(half[i][b], lanes, lambda lane, taps=taps: _weighted([(f, v(lane)) for f, v in taps]))  # type: ignore[misc]
    for i in range(WINDOW):
        for j in range(WINDOW):
            vector_store(
                transformed,
                lanes,
                lambda lane, i=i, j=j: _weighted([(matrix[j, b], half[i][b][lane]) for b in range(KERNEL)]).astype(  # type: ignore[misc]
                    "float32"
                ),
                lambda lane, i=i, j=j: (write + (i * WINDOW + j) * step + lane,),  # type: ignore[misc]
            )


def _weighted(terms: list[tuple[float, Expr]]) -> Expr:
    """The sum of factor times value over the terms whose factor is not 0; every row of G has one."""
    products = [value * tirx.const(float(factor), "float64") for factor, value in terms if factor != 0]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total
