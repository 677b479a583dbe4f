"""Which generic nodes have an integer form, and which."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgemtl.operators import Array
from edgemtl.quantize.lookups import has_table
from edgemtl.tvm_bridge.generic import Call, Generic

Form = Literal[
    "", "table", "product", "einsum", "softmax", "norm", "reduce", "add", "multiply", "scale", "move", "choice"
]
NORMS = ("InstanceNormalization", "LayerNormalization", "LpNormalization", "RMSNormalization")
MOVES = frozenset(
    "Concat DepthToSpace Expand Gather GatherElements GatherND Pad ReverseSequence ScatterElements ScatterND Slice "
    "SpaceToDepth Tile Trilu Where".split()
)
"""Operators that move elements and compute none, by constant indices."""
CHOICES = ("ArgMax", "ArgMin")
"""Operators that give an index: dequantised integers compare as the integers do."""
REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceSum")


def generic_form(operator: Generic) -> Form:
    """The integer form of a node, "" for none."""
    if has_table(operator):
        return "table"
    if operator.call.op in CHOICES and operator.reads == (0,) and operator.call.main_type.dtype == "float32":
        return "choice"
    if not _is_float32(operator):
        return ""
    if _moves(operator):
        return "move"
    if operator.call.op == "MatMul":
        return "product"
    if operator.call.op == "Einsum" and equation_of(operator)[2]:
        return "einsum"
    if operator.call.op == "Softmax":
        return "softmax"
    if operator.call.op in NORMS and operator.reads == (0,) and operator.call.attributes.get("p", 2) == 2:
        return "norm"
    if operator.call.op in REDUCTIONS and reduced_axes(operator):
        return "reduce"
    if has_constant(operator, "add"):
        return "add"
    return "multiply" if has_constant(operator, "multiply") else ""


def _moves(operator: Generic) -> bool:
    """Whether a node moves elements of its computed operands, to places that are known."""
    call = operator.call
    is_sum = call.attributes.get("reduction", "none") != "none"
    return call.op in MOVES and not is_sum and 0 not in call.result.shape and call.result.dtype == "float32"


def number_inputs(call: Call) -> tuple[int, ...]:
    """The operands of a node that are moved, not those that say how."""
    return tuple(index for index, kind in enumerate(call.inputs) if kind is not None and kind.dtype == "float32")


def _is_float32(operator: Generic) -> bool:
    kinds = [operator.call.inputs[index] for index in operator.reads]
    floats = all(kind is not None and kind.dtype == "float32" for kind in kinds)
    return floats and len(operator.call.outputs) == 1 and operator.call.result.dtype == "float32"


def reduced_axes(operator: Generic) -> tuple[int, ...]:
    """The axes that a node reduces, ascending; none where that is not constant, or it reduces nothing."""
    call = operator.call
    rank = len(call.main_type.shape)
    if operator.reads != (0,):
        return ()
    given = (call.integers("axes") if call.has("axes") else None) or call.attributes.get("axes", ())
    if not given and not call.attributes.get("noop_with_empty_axes", 0):
        return tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))


def equation_of(operator: Generic) -> tuple[str, str, str]:
    """The letters of an Einsum's two operands and of its result; empty where it is no product of matrices."""
    equation = operator.call.attributes.get("equation", "").replace(" ", "")
    terms, arrow, of_y = equation.partition("->")
    sides = terms.split(",")
    if not arrow or len(sides) != 2 or "." in equation or not of_y:
        return "", "", ""
    of_a, of_b = sides
    once = all(len(set(letters)) == len(letters) for letters in (of_a, of_b, of_y))
    # A letter of one side alone must be one of the result, and sizes of a letter must not be broadcast.
    is_known = set(of_y) <= set(of_a + of_b) and set(of_a) ^ set(of_b) <= set(of_y)
    shapes = [kind.shape for kind in operator.call.inputs if kind is not None]
    pairs = list(zip(of_a + of_b, (*shapes[0], *shapes[1]), strict=True))
    return (of_a, of_b, of_y) if once and is_known and len(set(pairs)) == len(dict(pairs)) else ("", "", "")


def constant_of(operator: Generic) -> Array:
    """The constant operand of a node of two operands."""
    (array,) = operator.call.constants.values()
    return array


def has_constant(operator: Generic, form: Form) -> bool:
    """Whether a node adds a constant, multiplies by one, or scales by one positive number."""
    call = operator.call
    if call.op not in ("Add", "Sub", "Mul", "Div") or len(operator.reads) != 1 or len(call.constants) != 1:
        return False
    (index,) = operator.reads
    if index != 0 and call.op in ("Sub", "Div"):
        return False
    if call.op in ("Add", "Sub"):
        return form == "add"
    array = constant_of(operator)
    finite = bool(np.isfinite(array).all()) and (call.op == "Mul" or bool(array.all()))
    return finite and (form == "multiply" or (form == "scale" and array.size == 1 and bool((array > 0).all())))
