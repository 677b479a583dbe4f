"""Mixtures that stay ordinary operators: a note for each on how many of its experts are computed for a token."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgemtl.frontend.passes import Notes
from edgemtl.frontend.recognise.bounds import Bounds, nonzero_bounds
from edgemtl.frontend.recognise.region import LAYERS, SHAPING, before
from edgemtl.graph import array_of, computed_inputs, is_static, main_input, result, shape_of

PICKS = frozenset({"Gather", "Slice", "Split"})
WEIGHING = frozenset({"Mul", "MatMul", "Einsum"})
PASSING = SHAPING | {"Transpose", "Cast"}


def describe_dense(graph: ir.Graph) -> Notes:
    """A note for every softmax over the results of several experts, and for stacked experts that work on buffers."""
    computing = before(graph.outputs)
    nodes = [node for node in graph if node in computing and node.domain == ""]
    bounds = nonzero_bounds(graph)
    return tuple([*_weighed(nodes, bounds), *_buffered(nodes)])


def _weighed(nodes: list[ir.Node], bounds: dict[ir.Value, Bounds]) -> Iterator[str]:
    """Gates that weigh experts: the values of a softmax, and values with few elements other than 0."""
    computing = set(nodes)
    for node in nodes:
        gate = result(node)
        if node.op_type in PASSING:
            continue
        few = {axis: count for axes, count in bounds.get(gate, {}).items() if len(axes) == 1 for axis in axes}
        axes = _softmax_axes(node) or few
        for axis, count in axes.items():
            experts = shape_of(gate)[axis]
            if count and experts > 1 and _weighs(gate, experts, computing):
                every = "every expert has a weight for each token"
                some = f"all are computed, though at most {count} have a weight"
                how = every if count == experts else some
                yield f"node {node.name}: dense mixture of {experts} experts: {how}"
                break


def _softmax_axes(node: ir.Node) -> dict[int, int]:
    """The axis of a softmax and its size; nothing for other nodes."""
    if node.op_type != "Softmax" or not is_static(result(node)):
        return {}
    shape = shape_of(result(node))
    axis = node.attributes.get_int("axis", -1) % len(shape)
    return {axis: shape[axis]}


def _weighs(gate: ir.Value, experts: int, nodes: set[ir.Node]) -> bool:
    """Whether nodes multiply a gate with as many experts' results, side by side or one by one."""
    factors = list(_factors(gate, nodes, set()))
    return any(_stacked(value, experts) for value in factors) or sum(map(_has_layer, factors)) == experts


def _factors(gate: ir.Value, nodes: set[ir.Node], seen: set[ir.Value]) -> Iterator[ir.Value]:
    """What nodes multiply the gate, or a part of it, with."""
    for node in gate.consumers():
        value = result(node)
        if value in seen or node not in nodes:
            continue
        seen.add(value)
        if node.op_type in WEIGHING:
            others = [other for other in computed_inputs(node) if other is not gate]
            yield from others
            if not others and node.op_type == "Mul":
                yield from _factors(value, nodes, seen)
        elif node.op_type in PASSING | PICKS:
            for output in node.outputs:
                yield from _factors(output, nodes, seen)


def _stacked(value: ir.Value, experts: int) -> bool:
    """Whether a value holds results of as many layers side by side."""
    node = _source(value)
    if node is None or node.op_type != "Concat":
        return False
    parts = [part for part in node.inputs if part is not None]
    return len(parts) == experts and all(map(_has_layer, parts))


def _has_layer(value: ir.Value) -> bool:
    """Whether a layer with weights of its own computes the value, up to what works on single elements."""
    todo, seen = [value], set[ir.Node]()
    while todo and len(seen) < 16:
        node = todo.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in LAYERS:
            return any(array_of(v) is not None for v in node.inputs)
        todo += list(computed_inputs(node))
    return False


def _source(value: ir.Value) -> ir.Node | None:
    """The node that computes a value, before it was laid out otherwise."""
    node = value.producer()
    while node is not None and node.op_type in PASSING:
        source = main_input(node)
        node = source.producer() if source is not None else None
    return node


def _buffered(nodes: list[ir.Node]) -> Iterator[str]:
    """Pairs of stacked layers, the second behind the first, that multiply rows [E, C, D] by matrices [E, D, H]."""
    for node in nodes:
        sizes = _buffer(node)
        if sizes is not None and any(_buffer(other) == sizes for other in _near(node)):
            experts, rows = sizes
            how = "whatever the tokens choose"
            yield f"node {node.name}: {experts} experts compute buffers of {rows} rows each, {how}"


def _near(node: ir.Node) -> Iterator[ir.Node]:
    """The next layers in front of a node."""
    todo, seen = list(computed_inputs(node)), set[ir.Node]()
    while todo:
        inner = todo.pop().producer()
        if inner is None or inner in seen:
            continue
        seen.add(inner)
        if inner.op_type in LAYERS:
            yield inner
        else:
            todo += list(computed_inputs(inner))


def _buffer(node: ir.Node) -> tuple[int, int] | None:
    """Experts and rows of each of a product of stacked matrices with stacked rows; None for another node."""
    data = list(computed_inputs(node))
    weights = [array for value in node.inputs if (array := array_of(value)) is not None]
    if node.op_type not in ("MatMul", "Einsum") or len(data) != 1 or len(weights) != 1 or not is_static(data[0]):
        return None
    shape, (weight,) = shape_of(data[0]), weights
    if weight.ndim != 3 or len(shape) != 3 or weight.shape[0] != shape[0] or weight.shape[0] < 2:
        return None
    return shape[0], shape[1]
