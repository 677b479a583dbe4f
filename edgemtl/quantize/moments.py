"""Second moments of what weights are multiplied by: which errors of a weight matter, and by how much together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from edgemtl.hw.arith import INT8
from edgemtl.hw.law import WIDE
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array, Experts, Frame, QExperts, Values
from edgemtl.progress import tick
from edgemtl.quantize.build import IntegerTask
from edgemtl.quantize.tensors import Tensor

DAMPING, FEW = 0.01, 0.1
"""Of the mean square of all inputs, what each gets added: always, and as many times again as there are inputs to a row.

The images are a sample. On the demo model's experts, measured on other images: with half as many rows as inputs to 3
times as many the second adds 0.7 dB, and takes nothing away where there are 13 to 44 times as many.
"""


@dataclass(frozen=True)
class InputMoments:
    """Sums over ``rows`` inputs of a weight [k, n] of the products of any two of their values, [k, k]."""

    total: Array = field(repr=False)
    rows: int

    def added(self, other: InputMoments) -> InputMoments:
        """The moments of all inputs of both."""
        return InputMoments(self.total + other.total, self.rows + other.rows)

    def damped(self) -> Array:
        """The mean of these products [k, k], positive definite; the identity where there were no inputs but zeros."""
        size, trace = len(self.total), float(np.trace(self.total))
        if trace == 0:
            return np.eye(size)
        return np.asarray(self.total / trace * size + (DAMPING + FEW * size / self.rows) * np.eye(size))


def experts_of(step: Step) -> tuple[int | None, ...]:
    """Whose weights a step has: those of each expert, or its own."""
    return tuple(range(step.operator.slots)) if isinstance(step.operator, QExperts) else (None,)


def observe_moments(
    floats: Sequence[Step], integer: IntegerTask, chosen: Set[int], images: Sequence[Frame]
) -> dict[str, InputMoments]:
    """By the key of its int8 weight, the moments of each weight of the integer steps ``chosen``, on ``images``.

    They are of the integers that the values of the float steps become, less the zero point, on their scale: sums of
    products of integers are exact, in whatever order they are added.
    """
    by_source = {integer.sources[index]: integer.steps[index] for index in chosen}
    seen: dict[str, InputMoments] = {}

    def watch(index: int, values: Values, outputs: Mapping[str, Array]) -> None:
        if index not in by_source:
            return
        step = by_source[index]
        tensor = integer.tensors[step["x"].buffer]
        for expert, rows in zip(experts_of(step), _inputs(floats[index], values), strict=True):
            integers = _integers(rows, tensor)
            moments = InputMoments(integers.T @ integers * tensor.scale**2, len(rows))
            key = step.constant("weight", expert).key
            seen[key] = seen[key].added(moments) if key in seen else moments

    for image in images:
        run_steps(floats, image, watch)
        tick()
    return seen


def _inputs(step: Step, values: Values) -> Iterator[Array]:
    """The rows that meet each weight of a float step."""
    operator = step.operator
    if not isinstance(operator, Experts):
        yield values["x"]
        return
    rows = values["x"][values["tokens"]] if operator.gather else values["x"]
    yield from np.split(rows, values["offsets"][1:-1])


def _integers(rows: Array, tensor: Tensor) -> Array:
    """What float rows [m, k] become in a tensor, less its zero point, in float64."""
    real = rows.astype(np.float64) - (0 if tensor.shift is None else tensor.shift)
    if tensor.fold is not None:
        # A channel that is folded to nothing meets weights of 0.
        real = np.divide(real, tensor.fold, out=np.zeros_like(real), where=tensor.fold != 0)
    low, high = WIDE if tensor.wide else INT8
    return np.asarray(np.clip(np.rint(real / tensor.scale), low - tensor.zero, high - tensor.zero))
