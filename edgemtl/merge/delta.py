"""The difference of two tensors in 8 or 4 bits, and the nodes that add it to the one that is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import add_constant
from edgemtl.operators import Array

DTYPES = {8: ir.DataType.INT8, 4: ir.DataType.INT4}
NODE_BYTES = 400
"""About what two nodes and two tensors take in the file besides their data."""


@dataclass(frozen=True)
class Delta:
    """integers * scales is about the difference. integers: int8 values of ``bits`` bits.  scales: float32 [C] of the
    axis, or a scalar where ``axis`` is None.  stored_bytes: what it adds to the file.
    """

    integers: Array
    scales: Array
    axis: int | None
    bits: int

    @property
    def stored_bytes(self) -> int:
        """In the file, with the nodes that add it."""
        return -(-self.integers.size * self.bits // 8) + self.scales.nbytes + NODE_BYTES


def make_delta(difference: Array, bits: int) -> Delta | None:
    """The float32 ``difference`` rounded to symmetric integers; None where that takes as many bytes as the tensor.

    A scale for each index of the first or of the last axis, whichever loses less; one for all of a vector.
    """
    limit = (1 << (bits - 1)) - 1
    axes: list[int | None] = [0, difference.ndim - 1] if difference.ndim > 1 else [None]
    scaled = [(_scales(difference, axis, limit), axis) for axis in axes]
    # The mean square error of rounding is the scale's square over 12; fsum, whose result no processor changes.
    scales, axis = min(scaled, key=lambda of: math.fsum(np.square(of[0], dtype=np.float64).flat) / of[0].size)
    integers = np.clip(np.rint(difference / _spread(scales, difference.ndim, axis)), -limit, limit).astype(np.int8)
    delta = Delta(integers, scales, axis, bits)
    return delta if delta.stored_bytes < difference.nbytes else None


def _scales(difference: Array, axis: int | None, limit: int) -> Array:
    others = tuple(i for i in range(difference.ndim) if i != axis)
    scales = np.asarray(np.abs(difference).max(axis=others) / np.float32(limit), np.float32)
    # Nothing differs there, or by what float32 cannot divide.
    scales[scales < np.finfo(np.float32).tiny] = 1
    return scales


def _spread(scales: Array, rank: int, axis: int | None) -> Array:
    return scales if axis is None else scales.reshape([-1 if i == axis else 1 for i in range(rank)])


def insert_delta(graph: ir.Graph, value: ir.Value, base: Array, delta: Delta) -> None:
    """Let the readers of the initializer ``value`` read ``base`` + the delta instead. In place."""
    name = str(value.name)
    integers = ir.tensor(delta.integers.astype(DTYPES[delta.bits].numpy()), dtype=DTYPES[delta.bits])
    stored = ir.Value(name=f"{name}.delta", shape=value.shape, type=ir.TensorType(integers.dtype), const_value=integers)
    graph.register_initializer(stored)
    inputs = [stored, add_constant(graph, f"{name}.delta.scale", delta.scales)]
    attributes = {} if delta.axis is None else {"axis": delta.axis}
    difference = ir.node("DequantizeLinear", inputs, attributes, name=f"{name}/Delta")
    total = ir.node("Add", [add_constant(graph, f"{name}.base", base), *difference.outputs], name=f"{name}/AddDelta")
    for node, suffix in ((difference, "difference"), (total, "total")):
        for output in node.outputs:
            output.name, output.shape, output.type = f"{name}.{suffix}", value.shape, value.type
    graph.insert_before(graph[0], [difference, total])
    for output in total.outputs:
        ir.convenience.replace_all_uses_with(value, output)
    del graph.initializers[name]
