"""What an integer input may be: where it looks something up, the positions that are there."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgemtl.graph import attribute, is_op, main_input, result, shape_of

SAME_NUMBERS = ("Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose results hold numbers of their first operand and no others."""
LOOKUPS = ("Gather", "GatherElements")


def index_bounds(value: ir.Value) -> tuple[int, int] | None:
    """The least and the largest number that every lookup by ``value`` has a position for; None where nothing looks up.

    As in ONNX, negative numbers count from the end of the axis.
    """
    if value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    size = min(_sizes(value), default=None)
    return None if size is None else (-size, size - 1)


def _sizes(value: ir.Value) -> Iterator[int]:
    """The length of each axis that is indexed."""
    for node, place in value.uses():
        if is_op(node, *LOOKUPS) and place == 1:
            yield shape_of(main_input(node))[attribute(node, "axis", 0)]
        elif is_op(node, *SAME_NUMBERS) and place == 0 and result(node).dtype in (ir.DataType.INT64, ir.DataType.INT32):
            yield from _sizes(result(node))
