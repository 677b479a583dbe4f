"""Values that hold the weights of experts, known by how few of a token's can be other than 0."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgemtl.frontend.recognise.bounds import nonzero_bounds
from edgemtl.frontend.recognise.region import ExpertChoice, before
from edgemtl.graph import shape_of, size_of


def find_weights(graph: ir.Graph) -> Iterator[ExpertChoice]:
    """Values of at least two axes with few elements other than 0 along one of them, the last of the graph first."""
    bounds = nonzero_bounds(graph)
    for node in reversed(list(graph)):
        for value in node.outputs:
            for axes, count in sorted(bounds.get(value, {}).items(), key=lambda item: sorted(item[0])):
                if value.dtype == ir.DataType.FLOAT and len(axes) == 1 and count and len(shape_of(value)) > 1:
                    (axis,) = axes
                    columns = shape_of(value)[axis]
                    tokens = size_of(value) // columns
                    yield ExpertChoice(_anchor(node, graph), "weights", (value,), count, tokens, columns, axis)


def _anchor(node: ir.Node, graph: ir.Graph) -> ir.Node:
    """The last choice that the node depends on, the node itself where it depends on none."""
    inner = before(node.outputs)
    choices = [other for other in graph if other in inner and other.op_type in ("TopK", "ArgMax")]
    return choices[-1] if choices else node
