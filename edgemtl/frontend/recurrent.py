"""GRU, LSTM and RNN layers written out step by step, in products, sums and activations (ONNX's definitions).

A layer's products with its input are one matrix product for the whole sequence; each step of the sequence then has one
with the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from edgemtl.errors import UnsupportedError
from edgemtl.frontend.model import ORIGIN
from edgemtl.graph import add_constant, array_of, attribute, is_op, name_of, operand, replace_value, result, shape_of
from edgemtl.operators import Array

MAX_STEPS = 1024
"""Steps that a model's layers may have, over all layers and directions: each becomes about ten nodes."""
KINDS = ("GRU", "LSTM", "RNN")
DEFAULTS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
Attributes = Mapping[str, int | Sequence[int]]
ACTIVATIONS = ("Sigmoid", "Tanh", "Relu")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
HINT = "change the layer in the model, or write it out in other operators"


def unroll_recurrent(graph: ir.Graph) -> bool:
    """Write every recurrent layer out, in place; whether there was one.

    Raises UnsupportedError for what is not written out: computed weights, sequences of several lengths, clipping, other
    activations than Sigmoid, Tanh and Relu, and more than `MAX_STEPS` steps.
    """
    nodes = [node for node in graph if is_op(node, *KINDS)]
    steps = 0
    for node in nodes:
        layer = _read_layer(node)
        steps += layer.length * len(layer.directions)
        if steps > MAX_STEPS:
            reason = f"its steps and those before it are {steps}, and at most {MAX_STEPS} are written out"
            raise UnsupportedError(name_of(node), reason, "export the model for a shorter sequence")
        _unroll(graph, layer)
    return bool(nodes)


@dataclass(frozen=True)
class _Direction:
    """Weights of one direction, transposed: [in, G H], [H, G H], [2, G H], and peepholes [3, H] of an LSTM."""

    reverse: bool
    activations: tuple[str, ...]
    weight: Array = field(repr=False)
    recurrent: Array = field(repr=False)
    bias: Array = field(repr=False)
    peepholes: Array | None = field(repr=False)


@dataclass(frozen=True)
class _Layer:
    """A layer; x is [length, batch, in], or [batch, length, in] where ``batch_first``."""

    node: ir.Node
    length: int
    batch: int
    hidden: int
    batch_first: bool
    directions: tuple[_Direction, ...]


def _read_layer(node: ir.Node) -> _Layer:
    batch_first = attribute(node, "layout", 0) == 1
    first, second, _ = shape_of(operand(node, "X"))
    length, batch = (second, first) if batch_first else (first, second)
    weight, recurrent = _constant(node, "W"), _constant(node, "R")
    hidden = recurrent.shape[-1]
    _check_form(node, length)
    bias = (
        np.zeros((len(weight), 2 * weight.shape[1]), np.float32) if operand(node, "B") is None else _constant(node, "B")
    )
    peepholes = _constant(node, "P") if node.op_type == "LSTM" and operand(node, "P") is not None else None
    kind = attribute(node, "direction", "forward")
    default = DEFAULTS[node.op_type] * DIRECTIONS[kind]
    functions = tuple(str(name) for name in attribute(node, "activations", ()) or default)
    if len(functions) != len(default) or any(function not in ACTIVATIONS for function in functions):
        reason = f"its activations are {', '.join(functions)}, and {', '.join(ACTIVATIONS)} are written out"
        raise UnsupportedError(name_of(node), reason, HINT)
    count = len(DEFAULTS[node.op_type])
    directions = tuple(
        _Direction(
            kind == "reverse" or index == 1,
            functions[index * count : (index + 1) * count],
            weight[index].T,
            recurrent[index].T,
            bias[index].reshape(2, -1),
            None if peepholes is None else peepholes[index].reshape(3, -1),
        )
        for index in range(len(weight))
    )
    return _Layer(node, length, batch, hidden, batch_first, directions)


def _constant(node: ir.Node, name: str) -> Array:
    array = array_of(operand(node, name))
    if array is None:
        raise UnsupportedError(name_of(node), f"its {name} is computed, and weights must be constants", HINT)
    return array


def _check_form(node: ir.Node, length: int) -> None:
    """Raise UnsupportedError for what ONNX allows and is not written out."""
    lengths = operand(node, "sequence_lens")
    if lengths is not None and not np.array_equal(np.unique(_constant(node, "sequence_lens")), [length]):
        reason = f"its sequences must all have the full length of {length}, and have others"
        raise UnsupportedError(name_of(node), reason, "leave out sequence_lens")
    for name in ("clip", "input_forget"):
        if attribute(node, name, 0):
            raise UnsupportedError(name_of(node), f"its attribute {name} is not written out", HINT)


@dataclass
class _Writer:
    """Nodes in front of ``node``, named after it."""

    graph: ir.Graph
    node: ir.Node
    count: int = 0

    def op(
        self, kind: str, inputs: Sequence[ir.Value], outputs: int = 1, attributes: Attributes = MappingProxyType({})
    ) -> tuple[ir.Value, ...]:
        """The results of a new node."""
        name = f"{name_of(self.node)}/{kind}_{self.count}"
        self.count += 1
        new = ir.node(kind, list(inputs), attributes=dict(attributes), num_outputs=outputs, name=name)
        for index, value in enumerate(new.outputs):
            value.name = f"{name}_out{index}"
            value.type = ir.TensorType(ir.DataType.FLOAT)
        if origin := self.node.metadata_props.get(ORIGIN):
            new.metadata_props[ORIGIN] = origin
        self.graph.insert_before(self.node, new)
        return tuple(new.outputs)

    def one(self, kind: str, *inputs: ir.Value, **attributes: int | Sequence[int]) -> ir.Value:
        """The only result of a new node."""
        (value,) = self.op(kind, inputs, attributes=attributes)
        return value

    def constant(self, what: str, array: Array) -> ir.Value:
        """A constant of the layer."""
        return add_constant(self.graph, f"{name_of(self.node)}.{what}", array)

    def split(self, value: ir.Value, axis: int, sizes: Sequence[int]) -> tuple[ir.Value, ...]:
        """A value cut along an axis."""
        if len(sizes) == 1:
            return (value,)
        return self.op("Split", [value, self.constant("split", np.array(sizes, np.int64))], len(sizes), {"axis": axis})

    def concat(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        """Values side by side."""
        return values[0] if len(values) == 1 else self.one("Concat", *values, axis=axis)


def _unroll(graph: ir.Graph, layer: _Layer) -> None:
    writer, node = _Writer(graph, layer.node), layer.node
    x = operand(node, "X")
    assert x is not None
    if layer.batch_first:
        x = writer.one("Transpose", x, perm=(1, 0, 2))
    runs = [_run(writer, layer, index, x) for index in range(len(layer.directions))]
    axis = writer.constant("axis", np.array([1], np.int64))
    rows = [writer.one("Unsqueeze", writer.concat(states, 0), axis) for states, _ in runs]
    finals = [writer.concat([last[index] for _, last in runs], 0) for index in range(len(node.outputs) - 1)]
    results = [writer.concat(rows, 1), *finals]
    for output, value in zip(node.outputs, results, strict=True):
        if output.uses() or output.is_graph_output():
            perm = (2, 0, 1, 3) if output is result(node) else (1, 0, 2)
            replace_value(output, writer.one("Transpose", value, perm=perm) if layer.batch_first else value)
    graph.remove(node, safe=True)


def _run(writer: _Writer, layer: _Layer, index: int, x: ir.Value) -> tuple[list[ir.Value], tuple[ir.Value, ...]]:
    """The states [1, batch, H] of one direction in the order of x, and its last state (of an LSTM also its cell)."""
    of, cell = layer.directions[index], _CELLS[layer.node.op_type](writer, layer, layer.directions[index])
    product = writer.one("MatMul", x, writer.constant(f"weight{index}", of.weight))
    rows = writer.split(writer.one("Add", product, writer.constant(f"bias{index}", cell.bias)), 0, [1] * layer.length)
    state = tuple(_initial(writer, layer, index, name) for name in cell.states)
    states = []
    for row in reversed(rows) if of.reverse else rows:
        state = cell.step(row, state)
        states.append(state[0])
    return states[::-1] if of.reverse else states, state


def _initial(writer: _Writer, layer: _Layer, index: int, name: str) -> ir.Value:
    """A state [1, batch, H] before the first step."""
    value = operand(layer.node, name)
    if value is None:
        return writer.constant(name, np.zeros((1, layer.batch, layer.hidden), np.float32))
    if layer.batch_first:
        value = writer.one("Transpose", value, perm=(1, 0, 2))
    return writer.split(value, 0, [1] * len(layer.directions))[index]


class _Cell:
    """One step of a layer; ``bias`` [G H] is added to the products with the input."""

    states: tuple[str, ...] = ("initial_h",)

    def __init__(self, writer: _Writer, layer: _Layer, of: _Direction) -> None:
        self.writer, self.layer, self.of = writer, layer, of
        self.bias = of.bias.sum(0)

    def step(self, row: ir.Value, state: tuple[ir.Value, ...]) -> tuple[ir.Value, ...]:
        """The state after a step: ``row`` [1, batch, G H] are the sums of the input's products and ``bias``."""
        raise NotImplementedError

    def gates(self, value: ir.Value, count: int) -> tuple[ir.Value, ...]:
        """A value [1, batch, count H] as ``count`` gates."""
        return self.writer.split(value, -1, [self.layer.hidden] * count)


class _Rnn(_Cell):
    def __init__(self, writer: _Writer, layer: _Layer, of: _Direction) -> None:
        super().__init__(writer, layer, of)
        self.recurrent = writer.constant("recurrent", of.recurrent)

    def step(self, row: ir.Value, state: tuple[ir.Value, ...]) -> tuple[ir.Value, ...]:
        (hidden,), (function,) = state, self.of.activations
        product = self.writer.one("MatMul", hidden, self.recurrent)
        return (self.writer.one(function, self.writer.one("Add", row, product)),)


class _Gru(_Cell):
    """Gates z, r, h. Where ``linear_before_reset``, r is multiplied behind the product with the state, else before."""

    def __init__(self, writer: _Writer, layer: _Layer, of: _Direction) -> None:
        super().__init__(writer, layer, of)
        self.reset_behind = bool(attribute(layer.node, "linear_before_reset", 0))
        last = slice(2 * layer.hidden, None)
        if self.reset_behind:
            self.bias[last] -= of.bias[1, last]
            self.inner = writer.constant("inner", of.bias[1, last])
        zr, h = np.split(of.recurrent, [2 * layer.hidden], axis=1)
        self.zr, self.h = writer.constant("recurrent_zr", zr), writer.constant("recurrent_h", h)

    def step(self, row: ir.Value, state: tuple[ir.Value, ...]) -> tuple[ir.Value, ...]:
        (hidden,), (f, g), w, size = state, self.of.activations, self.writer, self.layer.hidden
        row_zr, row_h = w.split(row, -1, [2 * size, size])
        z, r = self.gates(w.one(f, w.one("Add", row_zr, w.one("MatMul", hidden, self.zr))), 2)
        if self.reset_behind:
            inner = w.one("Add", w.one("MatMul", hidden, self.h), self.inner)
            product = w.one("Mul", r, inner)
        else:
            product = w.one("MatMul", w.one("Mul", r, hidden), self.h)
        new = w.one(g, w.one("Add", row_h, product))
        return (w.one("Add", new, w.one("Mul", z, w.one("Sub", hidden, new))),)


class _Lstm(_Cell):
    """Gates i, o, f, c; peepholes i, o, f."""

    states = ("initial_h", "initial_c")

    def __init__(self, writer: _Writer, layer: _Layer, of: _Direction) -> None:
        super().__init__(writer, layer, of)
        self.recurrent = writer.constant("recurrent", of.recurrent)
        peepholes = () if of.peepholes is None else tuple(of.peepholes)
        self.peepholes = [writer.constant(f"peephole{i}", row) for i, row in enumerate(peepholes)]

    def step(self, row: ir.Value, state: tuple[ir.Value, ...]) -> tuple[ir.Value, ...]:
        (hidden, cell), (f, g, h), w = state, self.of.activations, self.writer
        sums = w.one("Add", row, w.one("MatMul", hidden, self.recurrent))
        i, o, forget, c = self.gates(sums, 4)
        i, forget = w.one(f, self._seen(i, cell, 0)), w.one(f, self._seen(forget, cell, 2))
        cell = w.one("Add", w.one("Mul", forget, cell), w.one("Mul", i, w.one(g, c)))
        return w.one("Mul", w.one(f, self._seen(o, cell, 1)), w.one(h, cell)), cell

    def _seen(self, gate: ir.Value, cell: ir.Value, index: int) -> ir.Value:
        """A gate's sums with what it sees of the cell."""
        if not self.peepholes:
            return gate
        return self.writer.one("Add", gate, self.writer.one("Mul", cell, self.peepholes[index]))


_CELLS: dict[str, type[_Cell]] = {"GRU": _Gru, "LSTM": _Lstm, "RNN": _Rnn}
