"""Which generic nodes have an integer form, and which."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgemtl.operators import Array
from edgemtl.quantize.lookups import has_table
from edgemtl.tvm_bridge.generic import Generic

Form = Literal["", "table", "product", "softmax", "add", "multiply", "scale"]


def generic_form(operator: Generic) -> Form:
    """The integer form of a node, "" for none."""
    if has_table(operator):
        return "table"
    if not _is_float32(operator):
        return ""
    if operator.call.op == "MatMul" and len(operator.reads) == 2:
        return "product"
    if operator.call.op == "Softmax":
        return "softmax"
    if has_constant(operator, "add"):
        return "add"
    return "multiply" if has_constant(operator, "multiply") else ""


def _is_float32(operator: Generic) -> bool:
    kinds = [operator.call.inputs[index] for index in operator.reads]
    floats = all(kind is not None and kind.dtype == "float32" for kind in kinds)
    return floats and len(operator.call.outputs) == 1 and operator.call.result.dtype == "float32"


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
