"""Linear layers of experts, one by one or stacked, whichever operator computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.recognise.region import SHAPING
from edgemtl.graph import array_of, is_constant, is_static, main_input, operand, result, shape_of


@dataclass(frozen=True)
class ExpertLayer:
    """`data` times weight [n, in, out] (n experts, 1 where the layer is of one expert); bias as ONNX has it.

    axes: those of the node's weight operand that count inputs and outputs, None where the operand is computed.
    """

    node: ir.Node
    data: ir.Value
    weight: np.ndarray
    bias: ir.Value | None
    axes: tuple[int, int] | None

    @property
    def operand(self) -> ir.Value:
        """The node's weight operand."""
        return next(value for value in self.node.inputs if value is not None and value is not self.data)


def read_linear(node: ir.Node) -> ExpertLayer | None:
    """The node as a linear layer with constant float weights, None where it is none."""
    linear = _READERS[node.op_type](node) if node.op_type in _READERS and node.domain == "" else None
    return linear if linear is not None and linear.weight.dtype == np.float32 else None


def _read_matmul(node: ir.Node) -> ExpertLayer | None:
    data, right = node.inputs
    weight = weights_of(right)
    if data is None or weight is None or weight.ndim < 2 or data.const_value is not None:
        return None
    stacked = weight.reshape(-1, *weight.shape[-2:])
    single_axis = weight.ndim <= 3 or max(weight.shape[:-2]) == stacked.shape[0]
    axes = (weight.ndim - 2, weight.ndim - 1) if _is_direct(right) else None
    return ExpertLayer(node, data, stacked, None, axes) if single_axis else None


def _read_gemm(node: ir.Node) -> ExpertLayer | None:
    data, weight, bias = operand(node, "A"), array_of(operand(node, "B")), operand(node, "C")
    scaled = node.attributes.get_float("alpha", 1.0) != 1.0 or node.attributes.get_float("beta", 1.0) != 1.0
    if data is None or weight is None or scaled or node.attributes.get_int("transA", 0) == 1:
        return None
    transposed = bool(node.attributes.get_int("transB", 0))
    weight = weight.T if transposed else weight
    axes = (1, 0) if transposed else (0, 1)
    return ExpertLayer(node, data, weight[None], bias, axes) if bias is None or array_of(bias) is not None else None


def _read_einsum(node: ir.Node) -> ExpertLayer | None:
    """One index of the weight is contracted, one is new; a third counts the experts."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, _, of_result = equation.partition("->")
    if len(node.inputs) != 2 or "." in equation:
        return None
    operands = list(zip(terms.split(","), node.inputs, strict=True))
    if weights_of(operands[0][1]) is not None:
        operands.reverse()
    (of_data, data), (of_weight, value) = operands
    weight = weights_of(value)
    if data is None or value is None or weight is None or value.shape is None:
        return None
    if value.const_value is None:
        # The indices that picked experts stand in front; all experts take their place.
        of_weight = "#" + of_weight[len(value.shape) - weight.ndim + 1 :]
    order = _einsum_order(of_data, of_weight, of_result)
    if order is None:
        return None
    stacked = weight.transpose([of_weight.index(i) for i in order])
    axes = (of_weight.index(order[-2]), of_weight.index(order[-1])) if _is_direct(value) else None
    return ExpertLayer(node, data, stacked.reshape(-1, *stacked.shape[-2:]), None, axes)


def _is_direct(value: ir.Value | None) -> bool:
    return value is not None and is_constant(value)


def _einsum_order(of_data: str, of_weight: str, of_result: str) -> str | None:
    """The weight's indices as (experts,) in, out; None where the product is no linear layer."""
    contracted = [i for i in of_weight if i in of_data and i not in of_result]
    new = [i for i in of_weight if i not in of_data and i in of_result]
    counts = [i for i in of_weight if i == "#" or (i in of_data and i in of_result)]
    if len(new) == 2 and not counts:
        counts, new = new[:1], new[1:]
    single = len(contracted) == 1 and len(new) == 1 and len(counts) <= 1
    return "".join([*counts, *contracted, *new]) if single and len(of_weight) == 2 + len(counts) else None


def weights_of(value: ir.Value | None) -> np.ndarray | None:
    """Constant weights, or all of those of which some are gathered for each token."""
    constant = array_of(value)
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type in SHAPING and (source := main_input(producer)) is not None:
        producer = source.producer()
    if constant is not None or producer is None:
        return constant
    rows = producer.op_type == "Gather" and producer.attributes.get_int("axis", 0) == 0
    if producer.op_type == "GatherND" and producer.attributes.get_int("batch_dims", 0) == 0:
        indices = operand(producer, "indices")
        rows = indices is not None and is_static(indices) and shape_of(indices)[-1] == 1
    return array_of(operand(producer, "data")) if rows else None


def bias_of(linear: ExpertLayer) -> tuple[ir.Value | None, np.ndarray | None]:
    """The operand that adds the bias of a layer, and the biases in it; it may be added after changes of layout."""
    operand = linear.bias if linear.bias is not None else _added(result(linear.node))
    return operand, weights_of(operand)


def _added(value: ir.Value) -> ir.Value | None:
    while len(value.uses()) == 1:
        (node,) = value.consumers()
        if node.op_type == "Add":
            first, second = node.inputs
            return second if first is value else first
        if node.op_type not in SHAPING:
            break
        value = result(node)
    return None


_READERS = {"MatMul": _read_matmul, "Gemm": _read_gemm, "Einsum": _read_einsum}
