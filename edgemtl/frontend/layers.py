"""The MoE nodes of a finished graph, checked and described."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend.model import MoELayer
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, MoEAttributes, moe_nodes
from edgemtl.graph import input_names, is_constant, is_static, shape_of

INPUTS = input_names(DOMAIN, OP_TYPE)


def describe_layers(model: ir.Model) -> tuple[MoELayer, ...]:
    """A `MoELayer` for every MoE node, in order.

    Raises `UnsupportedError` for experts whose weights are computed, `ModelError` for shapes or attributes that
    do not fit together.
    """
    return tuple(_describe(node) for node in moe_nodes(model))


def _describe(node: ir.Node) -> MoELayer:
    values = [value for value in node.inputs if value is not None]
    a = MoEAttributes.from_node(node)
    names = INPUTS if a.gated else INPUTS[:-2]
    if len(values) != len(names) or len(node.inputs) != len(names):
        raise ModelError(f"MoE node {node.name} must have the inputs {', '.join(names)}, not {len(values)} of them")
    for name, value in zip(names[2:], values[2:], strict=True):
        if not is_constant(value):
            reason = f"its {name} is computed, and weights of experts are constants"
            raise UnsupportedError(f"node {node.name}", reason, "export the model with its weights as initializers")
    for name, value in zip(names, values, strict=True):
        if not is_static(value):
            hint = "export the model with fixed sizes"
            raise UnsupportedError(f"node {node.name}", f"the shape of its {name} is not fixed", hint)
    shapes = [shape_of(value) for value in values]
    if [len(shape) for shape in shapes] != [2, 2, 3, 2, 3, 2, 3, 2][: len(names)]:
        ranks = "2, 2, 3, 2, 3, 2, 3 and 2" if a.gated else "2, 2, 3, 2, 3 and 2"
        raise ModelError(f"MoE node {node.name} must have inputs of ranks {ranks}, not shapes {shapes}")
    (tokens, dim), (_, columns), (experts, _, hidden) = shapes[:3]
    expected = [
        (tokens, dim),
        (tokens, columns),
        (experts, dim, hidden),
        (experts, hidden),
        (experts, hidden, dim),
        (experts, dim),
        *([(experts, dim, hidden), (experts, hidden)] if a.gated else []),
    ]
    if shapes != expected:
        raise ModelError(f"MoE node {node.name} must have inputs whose shapes fit together, not {shapes}")
    if experts != (columns if a.experts is None else len(a.experts)) or _last_column(a) > columns or a.k > experts:
        what = f"{experts} experts for {columns} columns"
        raise ModelError(f"MoE node {node.name} must have experts that fit its attributes, not {what} with {a}")
    return MoELayer(str(node.name), experts, a.k, dim, hidden)


def _last_column(a: MoEAttributes) -> int:
    """One past the highest column the attributes speak of."""
    return max(sum(a.window) if a.window else 0, a.experts[-1] + 1 if a.experts else 0)
