"""Pooling over height and width."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from edgemtl.graph import attribute, dtype_of, ints_of, is_op, main_input, operand, result, shape_of
from edgemtl.hw.law_weightless import Windows
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant
from edgemtl.lowering.match import Group
from edgemtl.operators import Pool
from edgemtl.operators.pool import PoolKind

KINDS: dict[str, PoolKind] = {
    "MaxPool": "max",
    "AveragePool": "average",
    "GlobalMaxPool": "max",
    "GlobalAveragePool": "average",
    "ReduceMax": "max",
    "ReduceMean": "average",
}


def match_pool(node: ir.Node) -> Group | None:
    """MaxPool and AveragePool of a float32 image [1, C, H, W] with explicit pads, and of all of its pixels."""
    source = main_input(node) if is_op(node, *KINDS) and len(node.outputs) == 1 else None
    if source is None or len(shape_of(source)) != 4 or shape_of(source)[0] != 1 or dtype_of(source) != "float32":
        return None
    windows = _sliding(node, shape_of(source)) if node.op_type in ("MaxPool", "AveragePool") else _whole(node, source)
    if windows is None:
        return None
    return Group("pool", (node,), partial(_emit, node=node, source=source, windows=windows))


def _whole(node: ir.Node, source: ir.Value) -> Windows | None:
    """One window of all pixels, where the node reduces height and width, and leaves the two axes or drops them."""
    if node.op_type.startswith("Reduce"):
        given = ints_of(operand(node, "axes")) or attribute(node, "axes", ())
        if sorted(axis % 4 for axis in given) != [2, 3]:
            return None
    _, _, height, width = shape_of(source)
    return Windows(height, width, 1, 1, (height, width))


def _sliding(node: ir.Node, shape: tuple[int, ...]) -> Windows | None:
    """The windows, None where ONNX and onnxruntime count them differently, or there is a rule of its own for pads."""
    kernel = attribute(node, "kernel_shape", (1, 1))
    stride, dilation = attribute(node, "strides", (1, 1)), attribute(node, "dilations", (1, 1))
    top, left, bottom, right = attribute(node, "pads", (0, 0, 0, 0))
    out, sizes = shape_of(result(node))[2:], shape[2:]
    ends = [
        (o - 1) * s + (k - 1) * d + 1 - before - n
        for o, s, k, d, before, n in zip(out, stride, kernel, dilation, (top, left), sizes, strict=True)
    ]
    starts_outside = any(
        (o - 1) * s >= n + before for o, s, n, before in zip(out, stride, sizes, (top, left), strict=True)
    )
    counts_what_is_not_there = attribute(node, "count_include_pad", 0) and (ends[0] > bottom or ends[1] > right)
    is_dilated_mean = node.op_type == "AveragePool" and set(dilation) != {1}
    is_explicit = attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    if not is_explicit or starts_outside or counts_what_is_not_there or is_dilated_mean:
        return None
    geometry = (kernel[0], kernel[1]), (stride[0], stride[1]), (top, left), (dilation[0], dilation[1])
    windows = Windows(sizes[0], sizes[1], out[0], out[1], *geometry)
    return windows if windows.counts(False).all() else None


def _emit(em: Emitter, node: ir.Node, source: ir.Value, windows: Windows) -> None:
    pixels, kind = em.pixels(source), KINDS[node.op_type]
    channels = shape_of(source)[1]
    y = em.new((windows.out_pixels, channels))
    factor = {}
    if kind == "average":
        counts = windows.counts(bool(attribute(node, "count_include_pad", 0))).reshape(-1)
        factor = {"factor": Constant("pool.factor", (1 / counts).astype(np.float32))}
    em.step(Pool(kind, channels, windows), {"x": pixels, "y": y}, factor)
    if len(shape_of(result(node))) == 4:
        em.define_pixels(result(node), y)
    else:
        em.define_rows(result(node), y)
