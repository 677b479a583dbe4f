"""Values side by side."""

from __future__ import annotations

import math
from functools import partial

import onnx_ir as ir

from edgemtl.graph import array_of, attribute, dtype_of, is_op, result, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.axes import CHANNELS_FIRST, CHANNELS_LAST, lies_channels_last
from edgemtl.operators import Concat


def match_concat(node: ir.Node) -> Group | None:
    """Concat of computed float32 values along any axis."""
    values = [value for value in node.inputs if value is not None]
    if not is_op(node, "Concat") or any(array_of(value) is not None for value in values):
        return None
    if len(values) < 2 or dtype_of(result(node)) != "float32" or 0 in map(math.prod, map(shape_of, values)):
        return None
    return Group("concat", (node,), partial(_emit, node=node, values=values))


def _emit(em: Emitter, node: ir.Node, values: list[ir.Value]) -> None:
    """Channels-last where most images lie so."""
    views = [em.views[value] for value in values]
    axis = attribute(node, "axis", 0) % len(shape_of(values[0]))
    turned = 2 * sum(map(lies_channels_last, views)) >= len(views)
    if turned:
        views, axis = [view.transpose(CHANNELS_LAST) for view in views], CHANNELS_LAST.index(axis)
    views = [em.dense(view) for view in views]
    outer = math.prod(views[0].shape[:axis])
    rows = {f"x{i}": em.reshaped(view, (outer, view.size // outer)) for i, view in enumerate(views)}
    y = em.new((outer, sum(view.shape[1] for view in rows.values())))
    em.step(Concat(outer, tuple(view.shape[1] for view in rows.values())), {**rows, "y": y})
    whole = list(views[0].shape)
    whole[axis] = sum(view.shape[axis] for view in views)
    seen = em.reshaped(y, tuple(whole))
    em.views[result(node)] = seen.transpose(CHANNELS_FIRST) if turned else seen
