"""Golden pairs of integer tasks: what the integer law answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgemtl.golden.inputs import draw_plain, draw_skewed, shake
from edgemtl.golden.pairs import Answer, Goldens, pack, spread, tolerance_of
from edgemtl.lowering.execute import Compute, run_steps
from edgemtl.operators import Array, Frame, Operator, Values
from edgemtl.partition import TaskModel
from edgemtl.quantize import IntegerTask
from edgemtl.quantize.quantised_model import Quantised

SHAKES = 2
WIDENING = 8
"""Roundings that fall the other way where layers stay in float: so many times what shaking those layers changes."""


def make_integer_golden(
    quantised: Quantised, tasks: Sequence[TaskModel], images: Sequence[Frame], seed: int
) -> Goldens:
    """A plain and a skewed golden pair per integer task; the plain input is the first of ``images``, else drawn.

    Integers must agree to the bit. Layers kept in float may round otherwise elsewhere, and an integer behind them
    then differs by a quantum: the tolerance is what that changes, measured.
    """
    answers, notes = [], []
    for model in tasks:
        name, task = model.task.name, quantised.integers[model.task.name]
        inputs = [of for of in model.inputs if of.name in model.reads]
        frames = [next(iter(draw_plain(inputs, images, seed))), next(iter(draw_skewed(inputs, seed)))]
        for drawn in frames:
            frame = drawn.whole(inputs)
            output = run_steps(task.steps, frame)
            answers.append((name, Answer(drawn, output, _tolerance(task, frame, output))))
        if not task.all_integer:
            passes = max(answer.tolerance for _, answer in answers[-len(frames) :])
            notes.append(f"{name}: layers in float32 may round otherwise elsewhere; its self-test passes {passes:.1e}")
    return pack(answers, notes)


def _tolerance(task: IntegerTask, frame: Frame, output: Array) -> float:
    if task.all_integer:
        return 0.0
    shaken = [run_steps(task.steps, frame, compute=_shaking(seed)) for seed in range(SHAKES)]
    return max(tolerance_of(output), WIDENING * spread(shaken, output))


def _shaking(seed: int) -> Compute:
    """The integer law with every float32 it computes a little off."""

    def compute(operator: Operator, values: Values) -> tuple[Any, ...]:
        return tuple(_shaken(operator.compute(values), seed))

    return compute


def _shaken(outputs: Sequence[Any], seed: int) -> Iterator[Any]:
    return (shake(array, seed) for array in outputs)
