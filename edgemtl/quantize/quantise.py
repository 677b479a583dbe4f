"""The table of contents of quantisation: float steps and images to integer steps, and how far those are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgemtl.errors import ConfigError, QuantisationError
from edgemtl.lowering.ir import Array, Constant, Step
from edgemtl.options import QuantiseOptions
from edgemtl.progress import counting, tick
from edgemtl.quantize.align import Tasks, share_ranges
from edgemtl.quantize.bias import correct_biases
from edgemtl.quantize.build import IntegerTask, build_integer
from edgemtl.quantize.execute import run_steps
from edgemtl.quantize.functional import INTEGER
from edgemtl.quantize.images import split
from edgemtl.quantize.observe import Observation, observe
from edgemtl.quantize.parameters import Parameters, TaskParameters
from edgemtl.quantize.reference import FLOAT
from edgemtl.quantize.weights import BIAS_LIMIT

CORRECTION_IMAGES = 16
"""Images that bias correction looks at; a channel's mean is settled long before."""
CHECK_IMAGES = 8


def calibrate(
    model: str, pathway: str, tasks: Tasks, images: Sequence[Array], options: QuantiseOptions
) -> tuple[Parameters, dict[str, IntegerTask]]:
    """Integer parameters and tasks of float steps; every fourth image is kept for the check.

    Raises what `build_integer` raises, and QuantisationError where the check finds a task too far off.
    """
    used, kept = split(images)
    with counting("images run for ranges", len(tasks) * len(used)):
        observed = {task: observe(steps, used, options.method) for task, steps in tasks.items()}
    if not options.quieten:
        observed = {task: _levelled(seen) for task, seen in observed.items()}
    plain = build_integer(tasks, share_ranges(tasks, observed), options.keep_float)
    integers = correct_biases(tasks, plain, used[:CORRECTION_IMAGES]) if options.correct else plain
    with counting("images checked", len(tasks) * len(kept[:CHECK_IMAGES])):
        sqnr = {task: measure_sqnr(tasks[task], integers[task], kept[:CHECK_IMAGES]) for task in tasks}
    for task, found in sqnr.items():
        if not found >= options.least_sqnr_db:
            raise QuantisationError(
                f"{task} must keep a signal-to-noise ratio of {options.least_sqnr_db:g} dB in int8, not {found:.1f} dB"
                "; find the layer with `edgemtl compare`, keep it in float (--keep-float), or lower --min-sqnr"
            )
    parts = {task: TaskParameters(observed[task], _differences(plain[task], integers[task])) for task in tasks}
    return Parameters(model, pathway, options.method, len(images), options.keep_float, parts, sqnr), integers


def apply(tasks: Tasks, parameters: Parameters) -> dict[str, IntegerTask]:
    """The integer tasks that these parameters stand for: the same as `calibrate` returned with them.

    Raises what `build_integer` raises, and ConfigError for corrections that do not fit.
    """
    observed = {task: parameters.tasks[task].seen for task in tasks}
    plain = build_integer(tasks, share_ranges(tasks, observed), parameters.keep_float)
    return {task: _corrected(made, parameters.tasks[task].corrections) for task, made in plain.items()}


def _levelled(seen: Observation) -> Observation:
    """Channels that all look alike, so that none is halved."""
    return replace(seen, channels={i: np.full_like(c, c.max()) for i, c in seen.channels.items()})


def _differences(plain: IntegerTask, corrected: IntegerTask) -> dict[int, Array]:
    """What was added to the bias of each correctable step."""
    pairs = {place.step: place.constants[0] for place in plain.correctable}
    found = {at: _bias(corrected, at, c) - _bias(plain, at, c) for at, c in pairs.items()}
    return {at: difference for at, difference in found.items() if difference.any()}


def _bias(task: IntegerTask, step: int, constant: int) -> Array:
    return task.steps[step].constants[constant].array.astype(np.int64)


def _corrected(plain: IntegerTask, corrections: Mapping[int, Array]) -> IntegerTask:
    steps = list(plain.steps)
    places = {place.step: place.constants[0] for place in plain.correctable}
    for at, difference in corrections.items():
        held = steps[at].constants[places[at]].array if at in places else np.zeros(0)
        if difference.shape != held.shape or np.any(np.abs(held + difference.astype(float)) > BIAS_LIMIT):
            raise ConfigError(
                f"integer parameters of {plain.task} must correct biases it has, by what they can hold, "
                f"not those of step {at} by {difference.size} numbers; make the file again"
            )
        steps[at] = _with_bias(steps[at], places[at], difference)
    return replace(plain, steps=tuple(steps))


def _with_bias(step: Step, position: int, difference: Array) -> Step:
    constants = list(step.constants)
    held = constants[position]
    constants[position] = Constant(held.name, (held.array + difference).astype(np.int32))
    return replace(step, constants=tuple(constants))


def measure_sqnr(floats: Sequence[Step], integer: IntegerTask, images: Sequence[Array]) -> float:
    """The power of a task's output, its mean left out, over that of the difference, in decibel."""
    signal = noise = 0.0
    for image in images:
        expected = run_steps(floats, FLOAT, image).astype(np.float64)
        found = run_steps(integer.steps, INTEGER, image)
        signal += float(((expected - expected.mean()) ** 2).sum())
        noise += float(((expected - found) ** 2).sum())
        tick()
    return float("inf") if noise == 0 else 10 * float(np.log10(signal / noise)) if signal else float("-inf")
