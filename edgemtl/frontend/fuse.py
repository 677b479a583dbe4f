"""One operator for what exporters of older opsets spell out: GELU and layer normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, is_static, main_input, operand, replace_value, result, scalar_of, shape_of
from edgemtl.operators.activations import erf, gelu, gelu_tanh

GRID = np.linspace(-4.0, 4.0, 33)
REACH = 6
"""Steps from a GELU's erf or tanh to its ends."""

ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "Mul": np.multiply,
    "Add": np.add,
    "Sub": np.subtract,
    "Div": np.divide,
    "Pow": np.power,
    "Erf": erf,
    "Tanh": np.tanh,
    "Neg": np.negative,
}


def fuse(model: ir.Model) -> None:
    """Replace each such group of nodes by `Gelu` or `LayerNormalization`. In place; the rest becomes dead code."""
    for node in list(model.graph):
        if node.op_type in ("Erf", "Tanh"):
            _fuse_gelu(model.graph, node)
        elif node.op_type == "Sqrt":
            _fuse_layer_norm(model.graph, node)


def _fuse_gelu(graph: ir.Graph, node: ir.Node) -> None:
    form, target = ("none", gelu(GRID)) if node.op_type == "Erf" else ("tanh", gelu_tanh(GRID))
    for x in _before(operand(node, "input")):
        for end in _after(result(node)):
            values = _evaluate(end, {x: GRID})
            if values is not None and np.abs(values - target).max() < 1e-6:
                _replace(graph, ir.node("Gelu", [x], {"approximate": form}), node, end)
                return


def _before(value: ir.Value | None) -> Iterator[ir.Value]:
    """Values the argument may be computed from, near ones first."""
    level = [value] if value is not None else []
    for _ in range(REACH):
        yield from (v for v in level if v.const_value is None)
        producers = [v.producer() for v in level]
        sources = [v for n in producers if n is not None and n.op_type in ELEMENTWISE for v in n.inputs]
        level = list(dict.fromkeys(v for v in sources if v is not None))


def _after(value: ir.Value) -> Iterator[ir.Value]:
    for _ in range(REACH):
        users = list(value.consumers())
        if len(users) != 1 or users[0].op_type not in ELEMENTWISE:
            return
        value = result(users[0])
        yield value


def _evaluate(value: ir.Value, known: dict[ir.Value, np.ndarray | None], depth: int = 0) -> np.ndarray | None:
    """The value on `GRID` as a function of the one value known at first, None where it depends on others."""
    if value not in known:
        known[value] = None
        array, node = array_of(value), value.producer()
        if array is not None and array.size == 1:
            known[value] = array.reshape(-1).astype(np.float64)
        elif array is None and node is not None and node.op_type in ELEMENTWISE and depth < 2 * REACH:
            parts = [_evaluate(v, known, depth + 1) for v in node.inputs if v is not None]
            given = [part for part in parts if part is not None]
            with np.errstate(all="ignore"):
                known[value] = np.asarray(ELEMENTWISE[node.op_type](*given)) if len(given) == len(parts) else None
    return known[value]


def _replace(graph: ir.Graph, fused: ir.Node, named_by: ir.Node, end: ir.Value) -> None:
    """Put `fused` in the place of the node that computes `end`."""
    last = end.producer()
    assert last is not None
    output = result(fused)
    fused.name, output.name = f"{named_by.name}/{fused.op_type}", f"{named_by.name}/{fused.op_type}.output"
    output.shape, output.type = end.shape, end.type
    fused.metadata_props.update(named_by.metadata_props)
    graph.insert_after(last, fused)
    replace_value(end, output)


def _fuse_layer_norm(graph: ir.Graph, root: ir.Node) -> None:
    """scale * (x - mean) / sqrt(mean of squares + epsilon) + bias, over the last axis."""
    shifted = _computed_by(operand(root, "X"), "Add")
    squares, epsilon = _split_constant(shifted) if shifted is not None else (None, None)
    square = _computed_by(_mean_of(squares), "Pow", "Mul")
    centred = main_input(square) if square is not None and _is_square(square) else None
    subtract = _computed_by(centred, "Sub")
    if subtract is None or centred is None or epsilon is None:
        return
    x, mean = subtract.inputs
    if x is None or _mean_of(mean) is not x:
        return
    normal = _quotient(centred, result(root))
    if normal is not None and epsilon.size == 1:
        _scale_and_shift(graph, root, x, normal, float(epsilon.reshape(-1)[0]))


def _computed_by(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type in kinds else None


def _split_constant(node: ir.Node) -> tuple[ir.Value | None, np.ndarray | None]:
    """The variable and the constant operand of a node with one of each."""
    first, second = node.inputs
    return (first, array_of(second)) if array_of(first) is None else (second, array_of(first))


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """What a value is the mean of, over the last axis."""
    node = _computed_by(value, "ReduceMean")
    data = operand(node, "data") if node is not None else None
    if node is None or data is None or not is_static(data):
        return None
    axis = scalar_of(operand(node, "axes"))
    is_last = axis is not None and axis in (-1, len(shape_of(data)) - 1)
    return data if is_last and node.attributes.get_int("keepdims", 1) == 1 else None


def _is_square(node: ir.Node) -> bool:
    base, other = node.inputs
    power = array_of(other)
    return (
        other is base
        if node.op_type == "Mul"
        else power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2
    )


def _quotient(value: ir.Value, divisor: ir.Value) -> ir.Value | None:
    """value / divisor, by Div or by Mul with the reciprocal."""
    for node in divisor.consumers():
        if node.op_type == "Div" and operand(node, "A") is value:
            return result(node)
        if node.op_type == "Reciprocal" or (node.op_type == "Div" and _is_one(operand(node, "A"))):
            for user in result(node).consumers():
                if user.op_type == "Mul" and value in user.inputs:
                    return result(user)
    return None


def _is_one(value: ir.Value | None) -> bool:
    array = array_of(value)
    return array is not None and bool((array == 1).all())


def _scale_and_shift(graph: ir.Graph, root: ir.Node, x: ir.Value, normal: ir.Value, epsilon: float) -> None:
    scaled, scale = _affine(normal, "Mul", shape_of(x)[-1:])
    end, bias = _affine(scaled, "Add", shape_of(x)[-1:]) if scale is not None else (normal, None)
    if scale is not None and bias is not None:
        attributes = {"axis": -1, "epsilon": epsilon}
        _replace(graph, ir.node("LayerNormalization", [x, scale, bias], attributes), root, end)


def _affine(value: ir.Value, kind: str, shape: tuple[int, ...]) -> tuple[ir.Value, ir.Value | None]:
    users = list(value.consumers())
    if len(users) != 1 or users[0].op_type != kind:
        return value, None
    first, second = users[0].inputs
    other = second if first is value else first
    array = array_of(other)
    return (result(users[0]), other) if array is not None and array.shape == shape else (value, None)
