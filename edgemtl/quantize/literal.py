"""Which steps of a quantised model give the model's own integers, where their results are rounded to these.

Between its roundings a quantised model computes in float32. The integer law gives the same, but for sums next to a
half, where nothing but one rounding lies between integers and integers. Elsewhere it would be an approximation.
"""

from __future__ import annotations

import numpy as np

from edgemtl import operators as ops
from edgemtl.lowering.ir import Step
from edgemtl.operators.activations import SATURATING
from edgemtl.quantize.needs import gives_what_it_reads
from edgemtl.quantize.nodes import generic_form
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic

NODES = ("table", "product", "einsum", "reduce", "scale", "choice")
"""Integer forms of generic nodes that round once."""


def rounds_once(writer: Writer, step: Step) -> bool:
    """Whether the integer form of a step gives the integers that rounding its float32 result gives."""
    match step.operator:
        case ops.Linear() | ops.Conv2d():
            is_sum = isinstance(step.operator, ops.Linear) and step.operator.residual
            return not is_sum and step.operator.activation in ("", *SATURATING)
        case ops.Activate() | ops.Copy() | ops.Pixels() | ops.Pool():
            return True
        case _ if gives_what_it_reads(step.operator):
            tensors = [writer.tensors[view.buffer] for view in step.inputs]
            return all(writer.own_result is not None and t.equals(writer.own_result) for t in tensors)
        case ops.Resample():
            weights = [constant.array for constant in step.constants if constant.name.endswith("weight")]
            return all(bool(np.isin(weight, (0, 1)).all()) for weight in weights)
        case Generic():
            return generic_form(step.operator) in NODES
        case _:
            return False
