"""Golden pairs of integer tasks: what the integer law answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgemtl.frontend import MultiTaskModel
from edgemtl.golden.inputs import Array, draw_plain, draw_skewed, shake
from edgemtl.golden.pairs import Answer, Goldens, pack, spread, tolerance_of
from edgemtl.integers import Quantised
from edgemtl.quantize import IntegerTask
from edgemtl.quantize.execute import Function, run_steps
from edgemtl.quantize.functional import INTEGER

SHAKES = 2
WIDENING = 8
"""Roundings that fall the other way where layers stay in float: so many times what shaking those layers changes."""


def make_integer_golden(quantised: Quantised, model: MultiTaskModel, images: Sequence[Array], seed: int) -> Goldens:
    """A plain and a skewed golden pair per integer task; the plain input is the first of ``images``, else drawn.

    Integers must agree to the bit. Layers kept in float may round otherwise elsewhere, and an integer behind them
    then differs by a quantum: the tolerance is what that changes, measured.
    """
    inputs = [next(iter(draw_plain(model.input.shape, images, seed))), next(iter(draw_skewed(model.input.shape, seed)))]
    answers, notes = [], []
    for name, task in quantised.integers.items():
        for drawn in inputs:
            image = drawn.whole(model.input.shape)
            output = run_steps(task.steps, INTEGER, image)
            answers.append((name, Answer(drawn, output, _tolerance(task, image, output))))
        if task.kept:
            passes = max(answer.tolerance for _, answer in answers[-len(inputs) :])
            notes.append(f"{name}: layers in float32 may round otherwise elsewhere; its self-test passes {passes:.1e}")
    return pack(answers, notes)


def _tolerance(task: IntegerTask, image: Array, output: Array) -> float:
    if not task.kept:
        return 0.0
    shaken = [run_steps(task.steps, _shaking(seed), image) for seed in range(SHAKES)]
    return max(tolerance_of(output), WIDENING * spread(shaken, output))


def _shaking(seed: int) -> Mapping[type, Function]:
    """The integer law with every float32 it computes a little off."""

    def off(function: Function) -> Function:
        def run(spec: Any, inputs: Sequence[Any], constants: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(_shaken(function(spec, inputs, constants), seed))

        return run

    return {kind: off(function) for kind, function in INTEGER.items()}


def _shaken(outputs: Sequence[Any], seed: int) -> Iterator[Any]:
    return (shake(array, seed) if array.dtype == np.float32 else array for array in outputs)
