"""Separate q, k and v projections of one input, run as one linear layer so that attention finds them side by
side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from edgemtl.codegen.cpu.emit import Emitter
from edgemtl.codegen.cpu.graph import is_private, named_constant, shape_of
from edgemtl.codegen.cpu.ir import Array
from edgemtl.codegen.cpu.lower.linear import Linear, match_core
from edgemtl.codegen.cpu.views import is_view
from edgemtl.tvm_bridge.specs import LinearSpec


@dataclass(frozen=True)
class Projections:
    """The values the projections compute and their linear layers, in the order q, k, v; the views behind
    them.
    """

    values: tuple[ir.Value, ...]
    linears: tuple[Linear, ...]
    views: tuple[ir.Node, ...]

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes from the input of the projections to attention."""
        return (*self.views, *(node for linear in self.linears for node in linear.nodes))


def match_projections(operands: tuple[ir.Value, ...]) -> Projections | None:
    """The projections behind the operands of attention, if they are linear layers of one input that feed it
    alone.
    """
    views: list[ir.Node] = []
    values = tuple(_behind_views(value, views) for value in operands)
    linears = tuple(linear for value in values if (linear := match_core(value)) is not None)
    if len(set(values)) != len(values) or not all(map(is_private, values)):
        return None
    if len(linears) != len(values):
        return None
    if any(linear.pixels or linear.source is not linears[0].source for linear in linears):
        return None
    return Projections(values, linears, tuple(views))


def _behind_views(value: ir.Value, views: list[ir.Node]) -> ir.Value:
    while (
        is_private(value)
        and (node := value.producer()) is not None
        and is_view(node)
        and len(node.outputs) == 1
    ):
        assert node.inputs[0] is not None
        views.append(node)
        value = node.inputs[0]
    return value


def emit_projections(em: Emitter, found: Projections) -> None:
    """One linear layer of all the weights; each projection's value is a range of its columns."""
    rows = em.rows(found.linears[0].source)
    weights, biases = ([getattr(linear, kind) for linear in found.linears] for kind in ("weight", "bias"))
    weight = named_constant("+".join(w.name for w in weights), np.concatenate([w.array for w in weights], 1))
    bias = named_constant("+".join(b.name for b in biases), np.concatenate([b.array for b in biases]))
    out = em.new((rows.shape[0], weight.array.shape[1]))
    em.step(
        LinearSpec(rows.shape[0], rows.shape[1], out.shape[1], "", False), (rows,), (out,), (weight, bias)
    )
    ends = np.cumsum([w.array.shape[1] for w in weights])
    for value, end, held in zip(found.values, ends, weights, strict=True):
        cut = slice(end - held.array.shape[1], end)
        columns = out.apply(partial(_columns, cut=cut))
        em.views[value] = em.reshaped(columns, shape_of(value))


def _columns(rows: Array, cut: slice) -> Array:
    return rows[:, cut]
