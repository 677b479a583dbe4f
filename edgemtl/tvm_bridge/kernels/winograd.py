"""3x3 convolution by Winograd's algorithm, with bilinear upsampling in front and a 1x1 convolution behind.

A block of tiles at a time: transform the windows (V = B^T d B), one matrix product per place in the window
and group of output channels (M = V U), transform back (A^T M A). V and M of a block stay in the second-level
cache; neither the upsampled input nor, with a 1x1 convolution behind, the output is ever stored.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Winograd
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels import winograd_stages as stages
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, parallel
from edgemtl.tvm_bridge.kernels.tiles import pack_bias, pack_panels, padded_width
from edgemtl.tvm_bridge.kernels.winograd_cut import ChannelGroup, WinogradCut, cut, window_length
from edgemtl.tvm_bridge.kernels.winograd_math import PLACES, TILE


def pack(
    spec: Winograd,
    target: CpuTarget,
    bias: np.ndarray,
    last_weight: np.ndarray | None = None,
    last_bias: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Bias [cout] and, where the spec has a pointwise convolution, its weight [cout, pointwise] and bias."""
    if last_weight is None or last_bias is None:
        return (pack_bias(bias, target),)
    return pack_bias(bias, target), pack_panels(last_weight, target), pack_bias(last_bias, target)


@cache
def build(spec: Winograd, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, transformed, bias[, last_weight, last_bias], workspaces, y.

    ``transformed`` is the result of WinogradWeights's kernel.
    """
    plan = cut(spec, target)
    words = (spec.height, spec.width, spec.cin, spec.cout, "up" if spec.upsample else "", spec.activation)
    symbol = "winograd_" + "_".join(str(word) for word in (*words, spec.pointwise or "") if word != "")
    operands = _operands(spec, target, plan)

    def body(*buffers: Buffer) -> None:
        named = {operand.name: buffer for operand, buffer in zip(operands, buffers, strict=True)}
        _emit(stages.Stage(spec, target, plan, **named))

    return define(symbol, operands, body)


def _operands(spec: Winograd, target: CpuTarget, plan: WinogradCut) -> list[Operand]:
    low = (spec.height // 2, spec.width // 2) if spec.upsample else (spec.height, spec.width)
    parts, columns = target.threads, padded_width(spec.cout, target)
    last, pixels = padded_width(spec.pointwise, target), plan.block * TILE**2
    widest = plan.groups[0].columns
    weights = [
        Operand("bias", (columns,), "float32", "weight"),
        Operand("last_weight", (spec.cout * last,), "float32", "weight"),
        Operand("last_bias", (last,), "float32", "weight"),
    ]
    workspaces = [
        Operand("windows", (parts, plan.block, PLACES, window_length(spec)), "float32", "workspace"),
        Operand("products", (parts, plan.block, PLACES, widest), "float32", "workspace"),
        Operand("pixels", (parts, pixels, widest), "float32", "workspace"),
        Operand("totals", (parts, pixels, last), "float32", "workspace"),
    ]
    return [
        Operand("x", (*low, spec.cin), "float32", "input"),
        Operand("transformed", (PLACES * spec.cin * columns,), "float32", "input"),
        *(weights if spec.pointwise else weights[:1]),
        *(workspaces if spec.pointwise else workspaces[:2]),
        Operand("y", (spec.height, spec.width, spec.pointwise or spec.cout), "float32", "output"),
    ]


def _emit(stage: stages.Stage) -> None:
    threads, blocks = stage.target.threads, stage.cut.blocks
    with parallel(threads) as part, guarded(part < threads):
        if stage.cut.by_groups:
            with T.serial(blocks) as block:
                _block(stage, part, block)
        else:
            first = tirx.floordiv(part * blocks, threads)
            with T.serial(tirx.floordiv((part + 1) * blocks, threads) - first) as index:
                _block(stage, part, first + index)


def _block(stage: stages.Stage, part: Expr, block: Expr) -> None:
    stages.read_windows(stage, part, block)
    if stage.spec.pointwise:
        stages.start_totals(stage, part)
    groups, column = stage.cut.groups, 0
    for group, equal in groupby(groups):
        count = len(list(equal))
        own = count // stage.target.threads if stage.cut.by_groups else count
        start = part * own if stage.cut.by_groups else i32(0)
        with T.serial(own) as index:
            _group(stage, part, block, column + (start + index) * group.columns, group)
        column += count * group.columns
    if stage.spec.pointwise:
        stages.write_totals(stage, part, block)


def _group(stage: stages.Stage, part: Expr, block: Expr, column: Expr, group: ChannelGroup) -> None:
    stages.multiply(stage, part, column, group)
    stages.write_outputs(stage, part, block, column, group.valid)
    if stage.spec.pointwise:
        stages.add_totals(stage, part, column, group.valid)
