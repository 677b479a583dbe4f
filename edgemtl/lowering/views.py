"""ONNX operators that move no data: what each makes of the view it is given."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, attribute, ints_of, is_op, main_input, operand, result, shape_of
from edgemtl.lowering.ir import View

Outputs = tuple[View | None, ...]


def _reshape(node: ir.Node, view: View) -> Outputs:
    return (view.reshape(shape_of(result(node))),)


def _identity(node: ir.Node, view: View) -> Outputs:
    return (view,)


def _transpose(node: ir.Node, view: View) -> Outputs:
    backwards = tuple(reversed(range(len(view.shape))))
    return (view.transpose(attribute(node, "perm", backwards)),)


def _slice(node: ir.Node, view: View) -> Outputs:
    starts, ends = ints_of(operand(node, "starts")), ints_of(operand(node, "ends"))
    assert starts is not None
    assert ends is not None
    axes = ints_of(operand(node, "axes")) or tuple(range(len(starts)))
    steps = ints_of(operand(node, "steps")) or (1,) * len(starts)
    cut = [slice(None)] * len(view.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return (view.apply(itemgetter(tuple(cut))),)


def _split(node: ir.Node, view: View) -> Outputs:
    axis = attribute(node, "axis", 0) % len(view.shape)
    seen: list[View | None] = []
    begin = 0
    for output in node.outputs:
        end = begin + shape_of(output)[axis]
        cut = (*[slice(None)] * axis, slice(begin, end))
        seen.append(view.apply(itemgetter(cut)))
        begin = end
    return tuple(seen)


def _gather(node: ir.Node, view: View) -> Outputs:
    index = ints_of(operand(node, "indices"))
    assert index is not None
    cut: list[int | slice] = [slice(None)] * len(view.shape)
    cut[attribute(node, "axis", 0)] = index[0]
    return (view.apply(itemgetter(tuple(cut))),)


def _expand(node: ir.Node, view: View) -> Outputs:
    return (view.apply(lambda a: np.broadcast_to(a, shape_of(result(node)))),)


VIEW_OPS: dict[str, Callable[[ir.Node, View], Outputs]] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Identity": _identity,
    "Dropout": _identity,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": _expand,
}


def is_view(node: ir.Node | None) -> bool:
    """Whether a node only looks at its input in another way.

    Slices, gathers and splits count where what they take is written in the graph: a slice with positive
    steps, a gather of one scalar index.
    """
    source = main_input(node) if node is not None and is_op(node, *VIEW_OPS) else None
    if node is None or source is None or source.const_value is not None:
        return False
    if node.op_type == "Slice":
        operands = [operand(node, name) for name in ("starts", "ends", "axes", "steps")]
        written = all(v is None or array_of(v) is not None for v in operands)
        return written and all(step > 0 for step in ints_of(operand(node, "steps")) or (1,))
    if node.op_type == "Gather":
        index = array_of(operand(node, "indices"))
        return index is not None and index.ndim == 0
    return True


def look(node: ir.Node, view: View) -> Outputs:
    """What each output of a view node sees, given what its input sees; None where only a copy can."""
    return VIEW_OPS[node.op_type](node, view)
