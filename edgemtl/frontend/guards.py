"""Guards of attention against rows without a key, where every row has one: torch's exporter writes them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    array_of,
    constant_operand,
    is_op,
    operand,
    producer,
    replace_value,
    result,
    scalar_of,
    shape_of,
)


def drop_softmax_guards(model: ir.Model) -> None:
    """Replace ``Where(IsNaN(p), 0, p)`` by p where p is a Softmax that cannot be NaN. In place.

    A softmax of finite scores is NaN where all scores of a row are minus infinity, which a mask alone can make them.
    Scores that overflow float32 then give NaN instead of 0.
    """
    for node in list(model.graph):
        softmax = _guarded(node)
        if softmax is not None and _may_not_be_empty(softmax):
            replace_value(result(node), result(softmax))


def _guarded(node: ir.Node) -> ir.Node | None:
    """The Softmax whose NaNs a node replaces by 0."""
    if not is_op(node, "Where"):
        return None
    test, value = producer(operand(node, "condition"), "IsNaN"), operand(node, "Y")
    if test is None or operand(test, "X") is not value or scalar_of(operand(node, "X")) != 0:
        return None
    return producer(value, "Softmax") if value is not None and shape_of(value) == shape_of(result(node)) else None


def _may_not_be_empty(softmax: ir.Node) -> bool:
    """Whether every row has a score above minus infinity: scaled products of matrices, with a constant mask or none."""
    scores = operand(softmax, "input")
    rank = len(shape_of(scores))
    axis = softmax.attributes.get_int("axis", -1) % rank - rank
    while (node := producer(scores, "Add", "Mul", "Div")) is not None:
        pair = constant_operand(node)
        if pair is None or not _keeps_rows(node, pair, axis):
            return False
        scores = pair[1]
    return producer(scores, "MatMul") is not None


def _keeps_rows(node: ir.Node, pair: tuple[ir.Value, ir.Value], axis: int) -> bool:
    """Whether a node with a constant leaves a finite score in every row of finite ones; ``axis``: from the end."""
    constant = array_of(pair[0])
    assert constant is not None
    if not is_op(node, "Add"):
        scales = is_op(node, "Mul") or (pair[0] is operand(node, "B") and bool(constant.all()))
        return scales and bool(np.isfinite(constant).all())
    if np.isnan(constant).any() or np.isposinf(constant).any():
        return False
    finite = np.isfinite(constant)
    return bool(finite.any(axis=axis).all() if -axis <= constant.ndim else finite.all())
