"""Activations: one operator, or the elementwise operators an exporter wrote instead of it.

A decomposed activation is recognised by what it computes, not by how it is written: the operators are
evaluated on sample points and compared with each activation the kernels know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, attribute, is_op, operand, producer, result, scalar_of, shape_of
from edgemtl.operators import Array
from edgemtl.operators.activations import ACTIVATIONS, erf, hard_swish, mish, relu, sigmoid

_SAMPLES = np.linspace(-8.0, 8.0, 640)  # none of them where a hard sigmoid has a corner
_FAR = np.array([64.0, 1e3, 1e6, 1e12, 1e30])
_TOLERANCE = 4e-6  # constants such as sqrt(2) are stored in float32
_CANCELLED = {"gelu": 1e-12, "gelu_tanh": 1e-12}
"""What digits that cancel leave of a tail."""
_ROUNDING = {**_CANCELLED, "hard_sigmoid": 1e-7, "hard_swish": 1e-6}
"""What rounded constants leave near a corner as well."""
_LARGEST = 12  # operators in the longest known decomposition (tanh GELU), with some room

_OPERATIONS: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Clip": lambda x, low=None, high=None: np.clip(x, low, high),
    "Div": np.divide,
    "Erf": erf,
    "Exp": np.exp,
    "HardSwish": hard_swish,
    "Identity": lambda x: x,
    "Max": lambda *values: reduce(np.maximum, values),
    "Min": lambda *values: reduce(np.minimum, values),
    "Mish": mish,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Sub": np.subtract,
    "Tanh": np.tanh,
}
_WITH_ATTRIBUTES = ("HardSigmoid",)


@dataclass(frozen=True)
class Activation:
    """An activation found behind a value: its name, the value it is applied to, and its nodes."""

    name: str
    source: ir.Value
    nodes: tuple[ir.Node, ...]


def match_activation(value: ir.Value) -> Activation | None:
    """The activation that computes a value, or None."""
    node = value.producer()
    if node is None:
        return None
    x = operand(node, "X") if is_op(node, "Gelu", "Swish") else None
    if x is not None and is_op(node, "Gelu"):
        name = "gelu_tanh" if attribute(node, "approximate", "none") == "tanh" else "gelu"
        return Activation(name, x, (node,))
    if x is not None and attribute(node, "alpha", 1.0) == 1.0:
        return Activation("silu", x, (node,))
    return _match_written_out(node)


def _match_written_out(last: ir.Node) -> Activation | None:
    """Try every value that all paths from the last node lead back to, nearest first."""
    if not _is_elementwise(last):
        return None
    for source in _candidates(last):
        nodes = _between(last, source)
        if nodes is not None and shape_of(source) == shape_of(result(last)):
            name = _name_of(result(last), source, nodes)
            if name is not None:
                return Activation(name, source, nodes)
    return None


def _candidates(last: ir.Node) -> list[ir.Value]:
    """Values within reach of the last node through elementwise operators, nearest first."""
    seen: list[ir.Value] = []
    queue = [last]
    while queue and len(seen) <= 2 * _LARGEST:
        node = queue.pop(0)
        for value in node.inputs:
            if value is None or array_of(value) is not None or value in seen:
                continue
            seen.append(value)
            before = producer(value, *_OPERATIONS, *_WITH_ATTRIBUTES)
            if before is not None:
                queue.append(before)
    return seen


def _between(last: ir.Node, source: ir.Value) -> tuple[ir.Node, ...] | None:
    """The nodes from ``source`` to ``last``, if they read nothing else and nothing reads between them."""
    nodes: list[ir.Node] = []
    queue = [last]
    while queue:
        node = queue.pop()
        if node in nodes:
            continue
        if not _is_elementwise(node) or len(nodes) == _LARGEST:
            return None
        nodes.append(node)
        for value in node.inputs:
            if value is None or value is source or scalar_of(value) is not None:
                continue
            before = value.producer()
            if before is None:
                return None
            queue.append(before)
    return tuple(nodes) if all(_stays_inside(node, nodes) for node in nodes if node is not last) else None


def _stays_inside(node: ir.Node, nodes: list[ir.Node]) -> bool:
    value = result(node)
    return not value.is_graph_output() and all(use.node in nodes for use in value.uses())


def _name_of(value: ir.Value, source: ir.Value, nodes: Sequence[ir.Node]) -> str | None:
    """The activation that a value is of ``source`` at all sample points, around the nodes' constants too."""
    bounds = [c for node in nodes for v in node.inputs if (c := scalar_of(v)) is not None and abs(c) <= _FAR[-1]]
    samples = np.concatenate([_SAMPLES, _FAR, -_FAR, *(np.array([c - 1, c, c + 1]) for c in bounds)])
    with np.errstate(all="ignore"):
        computed = _evaluate(value, {source: samples})
        return next((name for name, f in ACTIVATIONS.items() if _is_same(computed, f(samples), name)), None)


def _is_same(computed: Array, expected: Array, name: str) -> bool:
    """Equal but for the rounding of constants; zeros exactly, so that a small number added to them is not lost.

    Where either overflows, the other way to write it may not.
    """
    finite = np.isfinite(computed) & np.isfinite(expected)
    zero = finite & (expected == 0)
    near = np.isclose(computed, expected, rtol=_TOLERANCE, atol=_ROUNDING.get(name, 0.0))
    exact = np.abs(computed[zero]) <= _CANCELLED.get(name, 0.0)
    return bool(finite[: len(_SAMPLES)].all() and near[finite].all() and exact.all())


def _evaluate(value: ir.Value, done: dict[ir.Value, Array]) -> Array:
    """What a value is at the sample points of those that are ``done``."""
    constant = scalar_of(value)
    if constant is not None:
        return np.asarray(constant)
    if value not in done:
        node = value.producer()
        assert node is not None
        inputs = [None if v is None else _evaluate(v, done) for v in node.inputs]
        done[value] = np.asarray(_operation(node)(*inputs))
    return done[value]


def _operation(node: ir.Node) -> Callable[..., Array]:
    """What a node computes of arrays; None stands for an operand that is left out."""
    if node.op_type == "HardSigmoid":
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        return lambda x: np.clip(alpha * x + beta, 0, 1)
    return _OPERATIONS[node.op_type]


def _is_elementwise(node: ir.Node) -> bool:
    return is_op(node, *_OPERATIONS, *_WITH_ATTRIBUTES)


def strip_activation(value: ir.Value) -> Activation:
    """The activation behind a value, where what it is applied to may vanish; "" and the value itself where
    there is none.
    """
    activation = match_activation(value)
    if activation is None or not _only_feeds(activation.source, activation.nodes):
        return Activation("", value, ())
    return activation


def _only_feeds(source: ir.Value, nodes: tuple[ir.Node, ...]) -> bool:
    return not source.is_graph_output() and all(use.node in nodes for use in source.uses())
