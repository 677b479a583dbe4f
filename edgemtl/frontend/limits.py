"""What reading a model may cost: bounds from shapes alone, before any part of it is evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as ir

from edgemtl.graph import array_of, is_constant, is_static, operand, result, shape_of, size_of

MAX_PROPAGATED = 1 << 16
"""Elements of a tensor that shape inference may follow; it takes 400 ns for each."""
MAX_WORK = 1 << 26
"""Of all folding, in units of about 0.1 us: what numpy takes for a few elements."""
MACS_A_UNIT = 1 << 7

ENDLESS = ("Loop", "Scan", "SequenceMap")
GROWING = (
    *("Range", "ConstantOfShape", "Expand", "Tile", "Resize", "Upsample", "Pad", "OneHot", "CenterCropPad", "Col2Im"),
    *("MaxUnpool", "ConvTranspose", "RandomUniform", "RandomNormal", "Multinomial", "AffineGrid", "STFT", "DFT"),
)
"""Operators whose result may be larger than what they read."""

HANDS_ON = (
    "Concat",
    "Gather",
    "Slice",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Cast",
    "Identity",
    "Where",
    "Equal",
    "Max",
    "Min",
)
"""Operators whose integers are some of those they read."""
SIZES = {"Expand": ("shape",), "ConstantOfShape": ("input",), "Range": ("start", "limit", "delta")}
"""The operands that say how large the result of an operator is."""
INDICES = (ir.DataType.INT64, ir.DataType.INT32)
MAX_RUN_ELEMENTS = 1 << 26
"""Of one tensor while a part of a model is run."""

# Units an element, where onnx's reference code runs Python for each.
SLOW = {
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool", "DeformConv", "LSTM", "GRU", "RNN"), 1 << 13),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "MaxUnpool", "ConvTranspose", "Col2Im"), 1 << 9),
    **dict.fromkeys(("ScatterND", "ScatterElements", "GatherND", "GatherElements", "Erf", "Unique", "Gelu"), 1 << 5),
}


def folding_work(node: ir.Node) -> int:
    """Units that evaluating a node whose values are static takes."""
    size = sum(size_of(output) for output in node.outputs)
    return size * SLOW.get(node.op_type, 1) + _macs(node, size) // MACS_A_UNIT


def _macs(node: ir.Node, size: int) -> int:
    read = [shape_of(value) for value in node.inputs if value is not None and is_static(value)]
    if node.op_type in ("MatMul", "Gemm", "MatMulInteger") and read and read[0]:
        return size * max(read[0])
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv") and len(read) > 1:
        return size * math.prod(read[1][1:])
    if node.op_type == "Einsum":
        return math.prod(_labels(node, read).values())
    return 0


def _labels(node: ir.Node, read: Sequence[tuple[int, ...]]) -> dict[object, int]:
    """Sizes of the axes an Einsum runs over; axes behind an ellipsis count for each operand."""
    terms = node.attributes["equation"].as_string().partition("->")[0].replace(" ", "").split(",")
    sizes: dict[object, int] = {}
    for place, (term, shape) in enumerate(zip(terms, read, strict=False)):
        plain = "..." not in term
        sizes |= {label if plain else (place, axis): size for axis, (label, size) in enumerate(_pairs(term, shape))}
    return sizes


def _pairs(term: str, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    return zip(term.ljust(len(shape), "."), shape, strict=False)


def may_propagate(graph: ir.Graph) -> bool:
    """Whether shape inference may follow the values of integer tensors: it writes each element down."""
    return all(_is_short(node) for node in all_nodes(graph) if node.op_type in ("Range", "Concat"))


def _is_short(node: ir.Node) -> bool:
    output = result(node)
    if node.op_type == "Concat":
        counts = output.dtype in INDICES and is_static(output)
        return not counts or size_of(output) <= MAX_PROPAGATED
    given = all(value is not None and value.const_value is not None for value in node.inputs)
    return given and is_static(output) and size_of(output) <= MAX_PROPAGATED


def all_nodes(nodes: Iterable[ir.Node]) -> Iterator[ir.Node]:
    """The nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from all_nodes(attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                yield from all_nodes(inner for graph in attribute.as_graphs() for inner in graph)


def why_not_run(nodes: Sequence[ir.Node], width: int, tokens: int, columns: int) -> str | None:
    """Why a region that may be a mixture of experts costs too much to run; None where it does not.

    width: D of the tokens [T, D]. columns: E of the routing [T, E]. A mixture computes every expert for every token, or
    gathers the experts' weights for every token. Sizes that depend on the data are counts of tokens and experts, if
    they are sizes of other values.
    """
    weights = {value for node in nodes for value in node.inputs if value is not None and is_constant(value)}
    weight_count = sum(array.size for value in weights if (array := array_of(value)) is not None)
    dense = tokens * (columns * width + weight_count // width) + MAX_PROPAGATED
    bound, total = max(dense, min(tokens * weight_count, MAX_RUN_ELEMENTS)), 0
    for node in all_nodes(nodes):
        if node.op_type in ENDLESS:
            return f"{node.op_type} in it may run without end"
        if (largest := _largest(node, tokens * columns)) is None:
            return f"the size of a {node.op_type} in it depends on the data"
        total += largest
        if largest > bound or total > max(16 * dense, 4 * MAX_RUN_ELEMENTS):
            return f"a {node.op_type} in it makes {largest} elements, {total} with those before it"
    return None


def _largest(node: ir.Node, count: int) -> int | None:
    """Elements of the largest output, sizes that are not known taken as ``count``; None where nothing bounds them."""
    static = all(is_static(output) for output in node.outputs)
    if not static and node.op_type in GROWING and not _takes_sizes(node):
        return None
    return max((_elements(output, count) for output in node.outputs), default=0)


def _elements(value: ir.Value, count: int) -> int:
    sizes = value.shape if value.shape is not None else ()
    return math.prod(size if isinstance(size, int) else count for size in sizes)


def _takes_sizes(node: ir.Node) -> bool:
    """Whether the result is as large as sizes of other values say, with no arithmetic in between."""
    if node.op_type == "Range" and result(node).dtype not in INDICES:
        return False
    sizes = SIZES.get(node.op_type)
    return sizes is not None and all(_is_size(operand(node, name), set()) for name in sizes)


def _is_size(value: ir.Value | None, seen: set[ir.Value]) -> bool:
    if value is None or value in seen or is_constant(value):
        return True
    seen.add(value)
    node = value.producer()
    if node is None or (node.op_type != "Shape" and node.op_type not in HANDS_ON):
        return False
    return node.op_type == "Shape" or all(_is_size(source, seen) for source in node.inputs)
