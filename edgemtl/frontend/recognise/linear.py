"""Linear layers of experts, one by one or stacked, whichever operator computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.recognise.region import SHAPING
from edgemtl.frontend.values import array_of


@dataclass(frozen=True)
class Linear:
    """`data` times weight [n, in, out] (n experts, 1 where the layer is of one expert); bias as ONNX has it."""

    node: ir.Node
    data: ir.Value
    weight: np.ndarray
    bias: np.ndarray | None


def read_linear(node: ir.Node) -> Linear | None:
    """The node as a linear layer with constant float weights, None where it is none."""
    found = _READERS[node.op_type](node) if node.op_type in _READERS and node.domain == "" else None
    return found if found is not None and found.weight.dtype == np.float32 else None


def _read_matmul(node: ir.Node) -> Linear | None:
    data, weight = node.inputs[0], _weights(node.inputs[1])
    if data is None or weight is None or weight.ndim < 2 or data.const_value is not None:
        return None
    stacked = weight.reshape(-1, *weight.shape[-2:])
    single_axis = weight.ndim <= 3 or max(weight.shape[:-2]) == stacked.shape[0]
    return Linear(node, data, stacked, None) if single_axis else None


def _read_gemm(node: ir.Node) -> Linear | None:
    data, weight = node.inputs[0], array_of(node.inputs[1])
    scaled = node.attributes.get_float("alpha", 1.0) != 1.0 or node.attributes.get_float("beta", 1.0) != 1.0
    if data is None or weight is None or scaled or node.attributes.get_int("transA", 0) == 1:
        return None
    weight = weight.T if node.attributes.get_int("transB", 0) else weight
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = array_of(given)
    return Linear(node, data, weight[None], bias) if given is None or bias is not None else None


def _read_einsum(node: ir.Node) -> Linear | None:
    """One index of the weight is contracted; with two others, one counts the experts."""
    if len(node.inputs) != 2 or "." in node.attributes["equation"].as_string():
        return None
    terms, _, result = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    first, second = terms.split(",")
    data, weight, of_data, of_weight = node.inputs[0], array_of(node.inputs[1]), first, second
    if weight is None:
        data, weight, of_data, of_weight = node.inputs[1], array_of(node.inputs[0]), second, first
    if data is None or weight is None:
        return None
    # An index both have and the result drops is contracted; one both have and the result keeps counts experts.
    contracted = [i for i in of_weight if i in of_data and i not in result]
    outputs = [i for i in of_weight if i not in of_data and i in result]
    counts = [i for i in of_weight if i in of_data and i in result]
    if len(contracted) == 2 and len(outputs) == 1:
        counts, contracted = contracted[:1], contracted[1:]
    if len(outputs) == 2 and not counts:
        counts, outputs = outputs[:1], outputs[1:]
    if len(contracted) != 1 or len(outputs) != 1 or len(counts) > 1:
        return None
    order = [of_weight.index(i) for i in (*counts, *contracted, *outputs)]
    stacked = weight.transpose(order)
    return Linear(node, data, stacked if counts else stacked[None], None)


def _weights(value: ir.Value | None) -> np.ndarray | None:
    """Constant weights, or all of those of which some are gathered for each token."""
    constant = array_of(value)
    if constant is not None or value is None:
        return constant
    producer = value.producer()
    gathered = (
        producer is not None and producer.op_type == "Gather" and not producer.attributes.get_int("axis", 0)
    )
    return array_of(producer.inputs[0]) if gathered and producer is not None else None


def added_bias(value: ir.Value) -> np.ndarray | None:
    """What is added to the result of a linear layer, through changes of layout."""
    while len(value.uses()) == 1:
        (node,) = value.consumers()
        if node.op_type == "Add":
            other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
            return _weights(other)
        if node.op_type not in SHAPING:
            break
        value = node.outputs[0]
    return None


_READERS = {"MatMul": _read_matmul, "Gemm": _read_gemm, "Einsum": _read_einsum}
