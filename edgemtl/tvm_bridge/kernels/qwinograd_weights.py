"""3x3 weights of bytes to Winograd's form of `qwinograd_math`; run once when a program is loaded."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QWinogradWeights
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, panels, parallel
from edgemtl.tvm_bridge.kernels.qwinograd_math import WEIGHTS
from edgemtl.tvm_bridge.kernels.vectors import constant, load, store
from edgemtl.tvm_bridge.kernels.winograd_math import KERNEL, PLACES, WINDOW


def pack(spec: QWinogradWeights, target: CpuTarget, weight: np.ndarray) -> tuple[np.ndarray]:
    """Weight int8 [cout, cin, 3, 3] flat: panel by panel [9, pairs, width, 2], zeros where there is no channel."""
    padded = np.zeros((KERNEL**2, 2 * spec.pairs, spec.columns), np.int8)
    padded[:, : spec.cin, : spec.cout] = weight.transpose(2, 3, 1, 0).reshape(KERNEL**2, spec.cin, spec.cout)
    paired = padded.reshape(KERNEL**2, spec.pairs, 2, spec.columns).transpose(0, 1, 3, 2)
    ends = np.cumsum([width for width, _ in panels(spec.cout, target)])[:-1]
    return (np.concatenate([panel.ravel() for panel in np.split(paired, ends, axis=2)]),)


@cache
def build(spec: QWinogradWeights, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands raw, transformed (flat: panel by panel [36, pairs, width, 2])."""
    channels, lanes = 2 * spec.pairs, 2 * target.lanes
    operands = [
        Operand("raw", (KERNEL**2 * channels * spec.columns,), "int8", "weight"),
        Operand("transformed", (PLACES * channels * spec.columns,), "int16", "output"),
    ]

    def body(raw: Buffer, transformed: Buffer) -> None:
        start = 0
        for width, equal in groupby(width for width, _ in panels(spec.cout, target)):
            count, step = len(list(equal)), channels * width
            with parallel(count) as item, guarded(item < count):
                column = T.bind((start + item * width) * channels)
                with T.serial(step // lanes) as index:
                    source, goal = column * KERNEL**2 + index * lanes, column * PLACES + index * lanes
                    _transform(lanes, (raw, source), (transformed, goal), step)
            start += count * width

    return define(f"qwinograd_weights_{spec.cin}x{spec.cout}", operands, body)


def _transform(lanes: int, source: tuple[Buffer, Expr], goal: tuple[Buffer, Expr], step: int) -> None:
    """S G g G^T S of one vector of weights; taps and places lie ``step`` values apart."""
    (raw, read), (transformed, write) = source, goal
    wide = f"int16x{lanes}"
    taps = [T.bind(load(raw, (read + tap * step,), lanes).astype(wide)) for tap in range(KERNEL**2)]
    halves = [[T.bind(_weighted(row, taps[across::KERNEL], lanes)) for across in range(KERNEL)] for row in WEIGHTS]
    for i in range(WINDOW):
        for j, row in enumerate(WEIGHTS):
            store(transformed, (write + (i * WINDOW + j) * step,), lanes, _weighted(row, halves[i], lanes))


def _weighted(factors: np.ndarray, values: list[Expr], lanes: int) -> Expr:
    """The sum of factor times value over the factors that are not 0; every row of WEIGHTS has one."""
    products = [
        value * constant(int(factor), "int16", lanes) for factor, value in zip(factors, values, strict=True) if factor
    ]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return tirx.Cast(f"int16x{lanes}", total)
