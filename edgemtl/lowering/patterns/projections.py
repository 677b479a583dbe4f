"""Separate q, k and v projections of one input, run as one linear layer so that attention finds them side by
side.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import onnx_ir as ir

from edgemtl.graph import is_private, main_input, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant
from edgemtl.lowering.patterns.linear import emit_linear, match_core
from edgemtl.lowering.views import is_view


@dataclass(frozen=True)
class Projections:
    """The values three projections compute, in the order q, k, v, the joint layer, and the nodes up to
    attention.
    """

    values: tuple[ir.Value, ...]
    source: ir.Value
    weight: Constant
    bias: Constant
    nodes: tuple[ir.Node, ...]


def match_projections(operands: tuple[ir.Value, ...]) -> Projections | None:
    """The projections behind the operands of attention, if they are linear layers of one input that feed it
    alone.
    """
    values, behind = zip(*map(_behind_views, operands), strict=True)
    linears = tuple(linear for value in values if (linear := match_core(value)) is not None)
    if len(set(values)) != len(values) or not all(map(is_private, values)):
        return None
    if len(linears) != len(values):
        return None
    if any(linear.pixels or linear.source is not linears[0].source for linear in linears):
        return None
    weights, biases = [linear.weight for linear in linears], [linear.bias for linear in linears]
    weight = Constant("+".join(w.name for w in weights), np.concatenate([w.array for w in weights], 1))
    bias = Constant("+".join(b.name for b in biases), np.concatenate([b.array for b in biases]))
    nodes = (*(node for views in behind for node in views), *(node for linear in linears for node in linear.nodes))
    return Projections(values, linears[0].source, weight, bias, nodes)


def _behind_views(value: ir.Value) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """The value behind the views that a value comes through alone, and those views."""
    views: list[ir.Node] = []
    while is_private(value) and (node := value.producer()) is not None and is_view(node) and len(node.outputs) == 1:
        source = main_input(node)
        assert source is not None
        views.append(node)
        value = source
    return value, tuple(views)


def emit_projections(em: Emitter, projections: Projections) -> None:
    """One linear layer of all the weights; each projection's value is a range of its columns."""
    out = emit_linear(em, em.rows(projections.source), projections.weight, projections.bias)
    begin = 0
    for value in projections.values:
        end = begin + shape_of(value)[-1]
        columns = out.apply(itemgetter((slice(None), slice(begin, end))))
        em.views[value] = em.reshaped(columns, shape_of(value))
        begin = end
