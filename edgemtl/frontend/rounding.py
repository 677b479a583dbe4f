"""Finding what rounds a value to the integers of a scale: how a graph has the quantisation of a quantised model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from edgemtl.graph import array_of, is_op, main_input, operand, private_producer, result, scalar_of

WIDTHS: dict[float, Literal["int8", "int16"]] = {2.0**8 - 1: "int8", 2.0**16 - 1: "int16"}
"""Integer types by the distance of their ends."""


@dataclass(frozen=True)
class Rounding:
    """A value rounded to scale (q - zero), q of a signed integer type; nodes: last one first."""

    source: ir.Value
    scale: float
    zero: int
    dtype: Literal["int8", "int16"]
    nodes: tuple[ir.Node, ...]


def find_rounding(node: ir.Node) -> Rounding | None:
    """The rounding that ends at a node: Div, Round, Clip, Mul, the first and last left out where the scale is 1.

    The ends of the Clip, from both of which the zero point is subtracted, tell type and zero point; whether the model's
    own integers have a sign does not matter.
    """
    last = _scaling(node, "Mul")
    clip = node if last is None else private_producer(last[0], "Clip")
    if clip is None or not is_op(clip, "Clip"):
        return None
    low, high = (scalar_of(operand(clip, name)) for name in ("min", "max"))
    if low is None or high is None or high - low not in WIDTHS or not low <= 0 <= high:
        return None
    nearest = private_producer(main_input(clip), "Round")
    source = main_input(nearest) if nearest is not None else None
    if nearest is None or source is None:
        return None
    dtype = WIDTHS[high - low]
    zero = -(2 ** (7 if dtype == "int8" else 15)) - int(low)
    ends = (node,) if last is not None else ()
    division = private_producer(source, "Div")
    first = _scaling(division, "Div") if division is not None else None
    if last is None and first is None:
        return Rounding(source, 1.0, zero, dtype, (clip, nearest))
    if last is None or first is None or division is None or first[1] != last[1]:
        return None
    return Rounding(first[0], last[1], zero, dtype, (*ends, clip, nearest, division))


def _scaling(node: ir.Node, op: str) -> tuple[ir.Value, float] | None:
    """The computed value that a node multiplies or divides by a number, and the number."""
    if not is_op(node, op):
        return None
    value, factor = node.inputs
    number = scalar_of(factor)
    if value is None or number is None or array_of(value) is not None or value.shape != result(node).shape:
        return None
    return value, number


def rounding_notes(graph: ir.Graph) -> tuple[str, ...]:
    """What a user should know of a quantised model."""
    count = count_roundings(graph)
    if not count:
        return ()
    how = "fp32 computes them as such, int8 takes their scales"
    return (f"the model is quantised: it rounds {count} values to integers of 8 or 16 bits; {how}",)


def count_roundings(graph: ir.Graph) -> int:
    """How many values of a graph are rounded to integers."""
    return sum(find_rounding(node) is not None for node in graph)
