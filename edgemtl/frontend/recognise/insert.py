"""Put an `edgemtl::MoE` node in the place of the operators that compute it."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.model import ORIGIN
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE
from edgemtl.frontend.recognise.probe import Mixture
from edgemtl.frontend.recognise.region import ExpertChoice
from edgemtl.graph import add_constant, replace_value, result, shape_of

Nodes = list[ir.Node]


def insert_mixture(graph: ir.Graph, router: ExpertChoice, mixture: Mixture, end: ir.Value) -> ir.Node:
    """The MoE node, which computes `end` from now on."""
    name = f"{router.anchor.name}/{OP_TYPE}"
    place = end.producer()
    assert place is not None
    experts, dim = mixture.experts, shape_of(mixture.experts.x)[-1]
    weights = [add_constant(graph, f"{name}.{part}", array) for part, array in experts.arrays.items()]
    x, first = _reshaped(graph, experts.x, (router.tokens, dim), f"{name}.x")
    logits, second = _routing(graph, router, f"{name}.logits")
    node = ir.node(OP_TYPE, [x, logits, *weights], mixture.attributes.to_dict(), domain=DOMAIN, name=name)
    _type(result(node), (router.tokens, dim), f"{name}.y")
    node.metadata_props.update({k: v for k, v in router.anchor.metadata_props.items() if k == ORIGIN})
    mixed, third = _reshaped(graph, result(node), shape_of(end), f"{name}.result")
    graph.insert_after(place, [*first, *second, node, *third])
    replace_value(end, mixed)
    return node


def _routing(graph: ir.Graph, router: ExpertChoice, name: str) -> tuple[ir.Value, Nodes]:
    """Logits or weights [T, E], and the nodes that lay them out so."""
    shape = router.tokens, router.columns
    if router.form == "choices":
        return _scattered(graph, router, name)
    (value,) = router.values
    axes = list(range(len(shape_of(value))))
    axes.append(axes.pop(router.axis))
    if math.prod(shape_of(value)[axes[-1] + 1 :]) == 1 or axes == sorted(axes):
        return _reshaped(graph, value, shape, name)
    turn = ir.node("Transpose", [value], {"perm": axes}, name=f"{name}/Transpose")
    _type(result(turn), tuple(shape_of(value)[axis] for axis in axes), f"{name}.turned")
    logits, nodes = _reshaped(graph, result(turn), shape, name)
    return logits, [turn, *nodes]


def _scattered(graph: ir.Graph, router: ExpertChoice, name: str) -> tuple[ir.Value, Nodes]:
    """The weights of the choices in their columns, 0 elsewhere."""
    pairs = router.tokens, router.k
    scores, chosen = router.values
    weights, first = _reshaped(graph, scores, pairs, f"{name}.weights")
    columns, second = _reshaped(graph, chosen, pairs, f"{name}.columns")
    zeros = add_constant(graph, f"{name}.zeros", np.zeros((router.tokens, router.columns), np.float32))
    scatter = ir.node("ScatterElements", [zeros, columns, weights], {"axis": 1}, name=f"{name}/ScatterElements")
    _type(result(scatter), (router.tokens, router.columns), name)
    return result(scatter), [*first, *second, scatter]


def _reshaped(graph: ir.Graph, value: ir.Value, shape: tuple[int, ...], name: str) -> tuple[ir.Value, Nodes]:
    if shape_of(value) == shape:
        return value, []
    target = add_constant(graph, f"{name}.shape", np.array(shape, np.int64))
    node = ir.node("Reshape", [value, target], name=f"{name}/Reshape")
    _type(result(node), shape, name, value.dtype)
    return result(node), [node]


def _type(value: ir.Value, shape: tuple[int, ...], name: str, dtype: ir.DataType | None = ir.DataType.FLOAT) -> None:
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(dtype or ir.DataType.FLOAT)
