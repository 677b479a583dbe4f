"""A mixture of experts, four steps of the law, as one node: a function that runs every expert on every token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, MoEAttributes, function_proto
from edgemtl.quantize.qdq.graph import Value
from edgemtl.quantize.qdq.task import TaskWriter
from edgemtl.quantize.tensors import Tensor

QUANTISED_MOE = "QuantisedMoE"
"""`edgemtl::MoE` with four or two operands more: scale and zero of the hidden sums and of the hidden activations."""
OPSET = 21
"""The first with QuantizeLinear to int16."""


@dataclass(frozen=True)
class RealExperts:
    """One linear layer of all experts: what it reads, weights [E, k, n] and biases [E, n] as real numbers.

    rounded: the tensors that its sums (if it has a table) and its result are rounded to; empty if it stays in float.
    """

    x: Value | None
    weight: Value
    bias: Value
    rounded: tuple[Tensor, ...]


@dataclass(frozen=True)
class RealRouting:
    """Logits [T, E] and the attributes by which experts are chosen."""

    logits: Value
    attributes: MoEAttributes


def route(task: TaskWriter) -> None:
    """Record the logits for the last step of the mixture, under the buffer of the routing weights."""
    spec = task.source
    candidates = None if len(spec.candidates) == spec.experts else spec.candidates
    # The activation is a placeholder: it is that of the experts, which come later.
    attributes = MoEAttributes(spec.top_k, "relu", spec.normalize, spec.threshold, None, candidates)
    task.parts[task.step["weights"].buffer] = RealRouting(task.input("logits"), attributes)


def experts(task: TaskWriter) -> None:
    """Record the layer for the last step of the mixture, under the buffer of its results."""
    source = task.step["x"].buffer
    known = task.parts.get(source)
    rounded = () if task.operator is task.source else _rounded(task)
    layer = RealExperts(None if known else task.input(), *_stacked(task), rounded)
    task.parts[task.step["y"].buffer] = (*(known or ()), (layer, task.source.activation))


def _rounded(task: TaskWriter) -> tuple[Tensor, ...]:
    result = task.tensor(task.step["y"].buffer)
    return (task.task.sums[task.index], result) if task.operator.table else (result,)


def _stacked(task: TaskWriter) -> tuple[Value, Value]:
    """Weights [E, k, n], stored as int8 [E n, k] with a scale a row, and biases [E, n] of all experts."""
    spec, graph, name = task.source, task.graph, task.step.constant("weight", 0).name
    layers = [task.layer(expert) for expert in range(spec.slots)]
    bias = task.bias(np.stack([layer.bias for layer in layers]), 0)
    scales = [layer.scale for layer in layers if layer.scale is not None]
    if not scales:
        return graph.constant(name, np.stack([layer.weight for layer in layers])), bias
    rows = np.concatenate([layer.weight.T for layer in layers])
    weight = task.dequantised(name, rows, np.concatenate(scales), 0)
    return graph.transpose(graph.reshape(weight, (spec.slots, spec.n, spec.k)), (0, 2, 1)), bias


def combine(task: TaskWriter) -> None:
    """The node of the whole mixture, and the residual."""
    (up, activation), (down, _) = task.parts[task.step["x"].buffer]
    routing = task.parts[task.step["weights"].buffer]
    chosen = routing.attributes
    attributes = MoEAttributes(chosen.k, activation, chosen.normalize, chosen.threshold, None, chosen.experts)
    operands = [up.x, routing.logits, up.weight, up.bias, down.weight, down.bias]
    for tensor in up.rounded:
        operands += task.graph.scale_of(tensor)
    kind, overload = _function(task, attributes, len(up.rounded))
    shape = (task.source.tokens, task.source.dim)
    y = task.graph.op(kind, operands, shape, attributes.to_dict(), (DOMAIN, overload))
    task.write(task.graph.add(y, task.input("residual")) if task.source.residual else y)


def _function(task: TaskWriter, attributes: MoEAttributes, rounded: int) -> tuple[str, str]:
    """Name and overload of the function, which is added to the graph unless it is there."""
    kind = QUANTISED_MOE if rounded else OP_TYPE
    key = kind, attributes.overload
    if key not in task.graph.functions:
        function = function_proto(attributes)
        function.opset_import[0].version = OPSET
        if rounded:
            _round_hidden(function, rounded)
        task.graph.functions[key] = function
    return key


def _round_hidden(function: onnx.FunctionProto, rounded: int) -> None:
    """Put QuantizeLinear and DequantizeLinear behind the hidden activations, and behind their sums where it is two."""
    function.name = QUANTISED_MOE
    for value in ("hidden", "act")[2 - rounded :]:
        scale, zero = f"{value}_scale", f"{value}_zero"
        function.input.extend([scale, zero])
        nodes = list(function.node)
        (at,) = (i for i, node in enumerate(nodes) if value in node.output)
        nodes[at].output[0] = f"{value}_exact"
        pair = [
            helper.make_node("QuantizeLinear", [f"{value}_exact", scale, zero], [f"{value}_bytes"]),
            helper.make_node("DequantizeLinear", [f"{value}_bytes", scale, zero], [value]),
        ]
        del function.node[:]
        function.node.extend([*nodes[: at + 1], *pair, *nodes[at + 1 :]])
