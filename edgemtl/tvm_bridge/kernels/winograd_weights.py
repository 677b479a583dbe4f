"""3x3 weights to Winograd's form, G g G^T in double precision; run once when a bundle is opened."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, local, panels, parallel, vector_store
from edgemtl.tvm_bridge.kernels.linear import pack_panels, padded_width
from edgemtl.tvm_bridge.kernels.winograd_math import WINDOW, weight_matrix
from edgemtl.tvm_bridge.specs_conv import WinogradWeightsSpec
from edgemtl.tvm_bridge.target import CpuTarget


def pack(spec: WinogradWeightsSpec, target: CpuTarget, weight: np.ndarray) -> tuple[np.ndarray]:
    """Weight [cout, cin, 3, 3] as the direct convolution packs it, so that both store the same bytes."""
    return (pack_panels(weight.transpose(2, 3, 1, 0).reshape(-1, spec.cout), target),)


@lru_cache(maxsize=None)
def build(spec: WinogradWeightsSpec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands raw, transformed (flat: panel by panel [36, cin, width])."""
    columns = padded_width(spec.cout, target)
    operands = [
        Operand("raw", (9 * spec.cin * columns,), "float32", "weight"),
        Operand("transformed", (WINDOW**2 * spec.cin * columns,), "float32", "output"),
    ]

    def body(raw: Buffer, transformed: Buffer) -> None:
        vectors = columns // target.lanes
        with parallel(vectors) as vector:
            column = 0
            for width, _ in panels(spec.cout, target):
                first, last = column // target.lanes, (column + width) // target.lanes
                with guarded(tirx.all(vector >= first, vector < last)):
                    lane = (vector - first) * target.lanes
                    with T.serial(spec.cin) as channel:
                        _transform(spec, target.lanes, raw, transformed, column, width, channel, lane)
                column += width

    suffix = "_up" if spec.upsample else ""
    return define(f"winograd_weights_{spec.cin}x{spec.cout}{suffix}", operands, body)


def _transform(
    spec: WinogradWeightsSpec,
    lanes: int,
    raw: Buffer,
    transformed: Buffer,
    column: int,
    width: int,
    channel: Expr,
    first: Expr,
) -> None:
    """The 6x6 values of one input channel and one vector of output channels."""
    matrix, half = weight_matrix(spec.upsample), [[local(lanes, "float64") for _ in range(3)] for _ in range(WINDOW)]

    def tap(row: int, across: int, lane: Expr) -> Expr:
        place = column * 9 * spec.cin + ((row * 3 + across) * spec.cin + channel) * width + first + lane
        return raw[place].astype("float64")

    for i in range(WINDOW):
        for b in range(3):
            vector_store(
                half[i][b],
                lanes,
                lambda lane, i=i, b=b: _weighted([(matrix[i, a], tap(a, b, lane)) for a in range(3)]),  # type: ignore[misc]
                lambda lane: (lane,),
            )
    for i in range(WINDOW):
        for j in range(WINDOW):
            place = column * WINDOW**2 * spec.cin + ((i * WINDOW + j) * spec.cin + channel) * width + first
            vector_store(
                transformed,
                lanes,
                lambda lane, i=i, j=j: _weighted([(matrix[j, b], half[i][b][lane]) for b in range(3)]).astype("float32"),  # type: ignore[misc]
                lambda lane, place=place: (place + lane,),  # type: ignore[misc]
            )


def _weighted(terms: list[tuple[float, Expr]]) -> Expr:
    """The sum of constant times value over the terms whose constant is not 0."""
    total = None
    for factor, value in terms:
        if factor != 0:
            term = value * tirx.const(float(factor), "float64")
            total = term if total is None else total + term
    return tirx.const(0.0, "float64") if total is None else total
