"""Integers that the law allows and the accelerator's arithmetic does not: steps that have them stay on the host CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgemtl import operators as ops
from edgemtl.hw.arith import INT8, SHIFT_RANGE
from edgemtl.hw.rules import MOST_HEAD_BYTES, MOST_KEYS, MOST_SUM, in_shift_range, mix_shifts, norm_shifts
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array, Operator

WIDE_ACTIVATIONS = "its activations have 12 bits, the accelerator's 8"


def integers_reason(step: Step) -> str:
    """Why the accelerator cannot compute a step with the integers it has; empty where it can."""
    reasons = REASONS.get(type(step.operator), _no_reasons)
    of_kind = (why for why in reasons(step, step.operator) if why)
    return width_reason(step.operator) or next(of_kind, "")


def width_reason(operator: Operator) -> str:
    """Why the accelerator cannot run an operator on integers of these widths; empty where it can."""
    match operator:
        case ops.QLinear() | ops.QExperts() if operator.wide or operator.how.wide:
            return WIDE_ACTIVATIONS
        case ops.QPatchEmbed() | ops.QLayerNorm() | ops.QAttention() if operator.wide:
            return WIDE_ACTIVATIONS
    return ""


def _no_reasons(_step: Step, _operator: Operator) -> Iterator[str]:
    return iter(())


def largest_sum(arrays: Mapping[str, Array], column_axis: int) -> int:
    """The largest magnitude that a sum with its bias can have, over all columns: 128 * sum |w| + |bias|."""
    weight = np.moveaxis(arrays["weight"], column_axis, 0).astype(np.int64)
    sums = np.abs(weight.reshape(len(weight), -1)).sum(1)
    return int((128 * sums + np.abs(arrays["bias"].astype(np.int64))).max())


def _sum_reason(largest: int) -> str:
    return f"its sums reach {largest:,}, the accelerator's keep below {MOST_SUM:,}" if largest >= MOST_SUM else ""


def _weight_reasons(layers: Sequence[Mapping[str, Array]], column_axis: int) -> Iterator[str]:
    yield _sum_reason(max(largest_sum(arrays, column_axis) for arrays in layers))
    if min(arrays["weight"].min() for arrays in layers) < -INT8[1]:
        yield "it has a weight of -128, two products of which do not share a DSP block; the accelerator's reach -127"


def _linear(step: Step, _operator: Any) -> Iterator[str]:
    yield from _weight_reasons([step.arrays()], 1)


def _conv(step: Step, _operator: Any) -> Iterator[str]:
    yield from _weight_reasons([step.arrays()], 0)


def _experts(step: Step, operator: ops.QExperts) -> Iterator[str]:
    yield from _weight_reasons([step.arrays(expert) for expert in range(operator.slots)], 1)


def _attention(_step: Step, operator: ops.QAttention) -> Iterator[str]:
    if operator.tokens > MOST_KEYS:
        yield f"it has {operator.tokens:,} keys, the accelerator's sums hold {MOST_KEYS:,}"
    if operator.head_dim > MOST_HEAD_BYTES:
        yield f"its heads have {operator.head_dim:,} channels, the accelerator's sums hold {MOST_HEAD_BYTES:,}"
    yield _shift_reason(mix_shifts(operator.shift, operator.tokens))


def _norm(step: Step, operator: ops.QLayerNorm) -> Iterator[str]:
    halvings = int(step.arrays()["halvings"].max())
    yield _shift_reason(norm_shifts(operator.shift, operator.dim, operator.epsilon, halvings))


def _shift_reason(shifts: tuple[int, int]) -> str:
    if in_shift_range(shifts):
        return ""
    low, high = SHIFT_RANGE
    return f"its rows are scaled by shifts of {shifts[0]} to {shifts[1]}, the accelerator's are {low} to {high}"


REASONS: Mapping[type[Operator], Callable[[Step, Any], Iterator[str]]] = {
    ops.QLinear: _linear,
    ops.QPatchEmbed: _linear,
    ops.QConv2d: _conv,
    ops.QExperts: _experts,
    ops.QAttention: _attention,
    ops.QLayerNorm: _norm,
}
"""By the operator: every reason of its kind, empty where it does not hold."""
