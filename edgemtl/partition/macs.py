"""Multiply-accumulates of one node."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from edgemtl.frontend.moe_node import MoEAttributes, is_moe
from edgemtl.graph import is_op, operand, result, shape_of


def macs(node: ir.Node) -> int:
    """Multiply-accumulates of matrix products, convolutions and experts; 0 for every other node.

    A mixture of experts counts what its tokens run: k * T * 2 * D * H, or 3 times D * H where experts are gated.
    Biases, norms, activations and interpolation count nothing, as in the literature.
    """
    if is_moe(node):
        return _moe(node)
    count = COUNTS.get(node.op_type) if is_op(node, *COUNTS) else None
    return 0 if count is None else count(node)


def _moe(node: ir.Node) -> int:
    tokens = shape_of(operand(node, "x"))[0]
    _, dim, hidden = shape_of(operand(node, "w1"))
    attributes = MoEAttributes.from_node(node)
    return attributes.k * tokens * (3 if attributes.gated else 2) * dim * hidden


def _matmul(node: ir.Node) -> int:
    return math.prod(shape_of(result(node))) * shape_of(operand(node, "A"))[-1]


def _gemm(node: ir.Node) -> int:
    rows, columns = shape_of(operand(node, "A"))
    inner = rows if node.attributes.get_int("transA", None) == 1 else columns
    return math.prod(shape_of(result(node))) * inner


def _conv(node: ir.Node) -> int:
    """Each output element is the product of one filter [C / group, kernel ..]."""
    return math.prod(shape_of(result(node))) * math.prod(shape_of(operand(node, "W"))[1:])


def _conv_transpose(node: ir.Node) -> int:
    """Each input element is spread over one filter [M / group, kernel ..]."""
    return math.prod(shape_of(operand(node, "X"))) * math.prod(shape_of(operand(node, "W"))[1:])


def _einsum(node: ir.Node) -> int:
    """The product of all the sizes its letters stand for; nothing where it multiplies nothing."""
    if len(node.inputs) < 2:
        return 0
    terms = node.attributes.get_string("equation", "").split("->")[0].replace(" ", "").split(",")
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=True):
        sizes.update(zip(term, shape_of(value), strict=True))
    return math.prod(sizes.values())


COUNTS: dict[str, Callable[[ir.Node], int]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
}
