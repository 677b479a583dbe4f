"""Weights stored as a difference to other weights, which `edgemtl merge --deltas` writes, are added up."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.graph import add_constant, array_of, attribute, is_op, operand, producer, replace_value, result
from edgemtl.operators import Array

INTEGERS = (ir.DataType.INT8, ir.DataType.INT4)


def apply_deltas(model: ir.Model) -> None:
    """Replace base + DequantizeLinear(integers, scale), all of them constants, by their sum. In place.

    In float32, in the order in which every runtime computes it. Other forms of DequantizeLinear stay.
    """
    for node in [node for node in model.graph if is_op(node, "Add")]:
        base, integers, dequantise = _parts(node)
        if dequantise is None or base is None or integers is None:
            continue
        scale = _scale(dequantise, integers.ndim)
        if scale is not None and base.shape == integers.shape:
            total = base + integers.astype(np.float32) * scale
            replace_value(result(node), add_constant(model.graph, f"{result(node).name}.sum", total))
            model.graph.remove(node, safe=True)


def _parts(node: ir.Node) -> tuple[Array | None, Array | None, ir.Node | None]:
    """The base, the integers and the node that dequantises them; None each where there is none."""
    if result(node).is_graph_output():
        return None, None, None
    dequantise = producer(operand(node, "B"), "DequantizeLinear")
    integers = operand(dequantise, "x") if dequantise is not None else None
    if integers is None or integers.dtype not in INTEGERS:
        return None, None, None
    base = array_of(operand(node, "A"))
    return base if base is not None and base.dtype == np.float32 else None, array_of(integers), dequantise


def _scale(dequantise: ir.Node, rank: int) -> Array | None:
    """The scale as it multiplies the integers; None for the forms that `edgemtl merge` does not write."""
    scale = array_of(operand(dequantise, "x_scale"))
    plain = operand(dequantise, "x_zero_point") is None and not attribute(dequantise, "block_size", 0)
    if scale is None or scale.dtype != np.float32 or not plain or attribute(dequantise, "output_dtype", 0):
        return None
    axis = attribute(dequantise, "axis", 1)
    if scale.ndim == 0:
        return scale
    return scale.reshape([-1 if i == axis else 1 for i in range(rank)]) if scale.ndim == 1 else None
