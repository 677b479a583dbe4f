"""A mixture of experts, four steps of the law, as one node: a function that runs every expert on every token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from edgemtl import operators as ops
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, MoEAttributes, function_proto
from edgemtl.quantize.qdq.graph import Value
from edgemtl.quantize.qdq.task import TaskWriter
from edgemtl.quantize.tensors import Tensor

QUANTISED_MOE = "QuantisedMoE"
"""`edgemtl::MoE` with operands more: scale and zero of every hidden value that the integer law rounds."""
OPSET = 21
"""The first with QuantizeLinear to int16."""


@dataclass(frozen=True)
class RealExperts:
    """One linear layer of all experts: what it reads, weights [E, k, n] and biases [E, n] as real numbers."""

    x: Value | None
    weight: Value
    bias: Value


@dataclass(frozen=True)
class RealUnits:
    """The hidden units of all experts: the layer that ends in the activation, and the one they are multiplied by.

    rounded: the tensors by the name of the value in the body of `edgemtl::MoE` that is rounded to them.
    """

    up: RealExperts
    activation: str
    rounded: Mapping[str, Tensor]
    linear: RealExperts | None = None


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
    if isinstance(spec, ops.Dispatch):
        attributes = MoEAttributes(spec.top_k, "relu", experts=candidates, routing="weights")
    else:
        attributes = MoEAttributes(spec.top_k, "relu", spec.normalize, spec.threshold, None, candidates)
    task.parts[task.step["weights"].buffer] = RealRouting(task.input("logits"), attributes)


def experts(task: TaskWriter) -> None:
    """Record the layer for the last step of the mixture, under the buffer of its results."""
    units = task.parts.get(task.step["x"].buffer)
    layer = RealExperts(None if units else task.input(), *_stacked(task))
    if units:
        task.parts[task.step["y"].buffer] = units, layer
        return
    rounded = {} if task.operator is task.source else {"act": task.tensor(task.step["y"].buffer)}
    if rounded and task.operator.table:
        rounded = {"hidden": task.task.sums[task.index], **rounded}
    task.parts[task.step["y"].buffer] = RealUnits(layer, task.source.activation or "identity", rounded)


def multiply(task: TaskWriter) -> None:
    """Record the product of two layers' hidden units, under its buffer."""
    units, linear = (task.parts[task.step[name].buffer] for name in ("a", "b"))
    rounded = dict(units.rounded)
    if "act" in linear.rounded:
        rounded["linear"] = linear.rounded["act"]
    if isinstance(task.operator, ops.QMultiply):
        rounded["inner"] = task.tensor(task.step["y"].buffer)
    task.parts[task.step["y"].buffer] = RealUnits(units.up, units.activation, rounded, linear.up)


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
    units, down = task.parts[task.step["x"].buffer]
    routing, up, linear = task.parts[task.step["weights"].buffer], units.up, units.linear
    attributes = replace(routing.attributes, activation=units.activation, gated=linear is not None)
    operands = [up.x, routing.logits, up.weight, up.bias, down.weight, down.bias]
    operands += [linear.weight, linear.bias] if linear else []
    for tensor in units.rounded.values():
        operands += task.graph.scale_of(tensor)
    kind, overload = _function(task, attributes, tuple(units.rounded))
    shape = (task.source.tokens, task.source.dim)
    y = task.graph.op(kind, operands, shape, attributes.to_dict(), (DOMAIN, overload))
    task.write(task.graph.add(y, task.input("residual")) if task.source.residual else y)


def _function(task: TaskWriter, attributes: MoEAttributes, rounded: tuple[str, ...]) -> tuple[str, str]:
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


def _round_hidden(function: onnx.FunctionProto, rounded: tuple[str, ...]) -> None:
    """Put QuantizeLinear and DequantizeLinear behind the values of these names."""
    function.name = QUANTISED_MOE
    for value in rounded:
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
