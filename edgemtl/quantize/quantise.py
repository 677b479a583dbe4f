"""The table of contents of quantisation: from float steps and images to integer steps, and their accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgemtl.errors import ConfigError, QuantisationError
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Constant, Step
from edgemtl.lowering.verify import verify
from edgemtl.operators import Array, Frame, Quantise
from edgemtl.options import QuantiseOptions
from edgemtl.progress import counting, tick
from edgemtl.quantize.align import Tasks, share_ranges
from edgemtl.quantize.bias import correct_biases
from edgemtl.quantize.build import IntegerTask, build_integer
from edgemtl.quantize.images import split
from edgemtl.quantize.observe import Observation, observe
from edgemtl.quantize.own_scales import take_scales
from edgemtl.quantize.parameters import Parameters, TaskParameters
from edgemtl.quantize.quality import Quality, judge, signal_to_noise
from edgemtl.quantize.weights import BIAS_LIMIT

CORRECTION_IMAGES = 16
"""Images that bias correction uses; the mean of a channel converges with fewer."""
CHECK_IMAGES = 8


def calibrate(
    model: str, pathway: str, tasks: Tasks, images: Sequence[Frame], options: QuantiseOptions
) -> tuple[Parameters, dict[str, IntegerTask]]:
    """Integer parameters and tasks of float steps; every fourth image is reserved for the check.

    Raises what `build_integer` raises, and QuantisationError where a task fails the check.
    """
    used, checked = split(images)
    with counting("images run for ranges", len(tasks) * len(used)):
        observed = {task: observe(steps, used, options.method) for task, steps in tasks.items()}
    if not options.quieten:
        observed = {task: _levelled(seen) for task, seen in observed.items()}
    plain = _build(tasks, observed, options)
    # The biases of a quantised model are its own.
    correct = options.correct and not is_quantised(tasks)
    integers = correct_biases(tasks, plain, used[:CORRECTION_IMAGES]) if correct else plain
    for integer in integers.values():
        verify("bias correction", integer.steps)
    with counting("images checked", len(tasks) * len(checked[:CHECK_IMAGES])):
        quality = {
            t: check_task(t, tasks[t], integers[t], checked[:CHECK_IMAGES], options.least_sqnr_db) for t in tasks
        }
    parts = {task: TaskParameters(observed[task], _differences(plain[task], integers[task])) for task in tasks}
    sqnr = {task: of.sqnr_db for task, of in quality.items()}
    notes = tuple(note for of in quality.values() for note in of.notes)
    return Parameters(model, pathway, options.method, len(images), options.keep_float, parts, sqnr, notes), integers


def keep_scales(
    model: str, pathway: str, tasks: Tasks, options: QuantiseOptions
) -> tuple[Parameters, dict[str, IntegerTask]]:
    """Integer tasks by the scales that a quantised model brings along; what has none stays in float.

    Raises what `build_integer` raises.
    """
    nothing = Observation({}, {})
    integers = _build(tasks, dict.fromkeys(tasks, nothing), options)
    parts = {task: TaskParameters(nothing, {}) for task in tasks}
    return Parameters(model, pathway, OWN_METHOD, 0, options.keep_float, parts, {}), integers


OWN_METHOD = "own"
"""The method of parameters whose scales are those of a quantised model."""


def is_quantised(tasks: Tasks) -> bool:
    """Whether float steps round values as a quantised model does."""
    return any(isinstance(step.operator, Quantise) for steps in tasks.values() for step in steps)


def _build(tasks: Tasks, observed: Mapping[str, Observation], options: QuantiseOptions) -> dict[str, IntegerTask]:
    """The integer tasks of float steps and what was observed of these."""
    scaled = {task: take_scales(steps) for task, steps in tasks.items()}
    floats = {task: of.steps for task, of in scaled.items()}
    seen = share_ranges(floats, {task: of.observed(observed[task]) for task, of in scaled.items()})
    integers = build_integer(floats, seen, options, {task: of.tensors for task, of in scaled.items()})
    return {task: _by_float_steps(integer, scaled[task].sources) for task, integer in integers.items()}


def _by_float_steps(integer: IntegerTask, sources: Sequence[int]) -> IntegerTask:
    """The task with the numbers of the float program's steps for those of the steps it was built from."""
    correctable = tuple(replace(place, source=sources[place.source]) for place in integer.correctable)
    return replace(integer, sources=tuple(sources[index] for index in integer.sources), correctable=correctable)


def check_task(
    task: str, floats: Sequence[Step], integer: IntegerTask, images: Sequence[Frame], least_db: float
) -> Quality:
    """The accuracy of a task's integer output on ``images``. Raises QuantisationError below ``least_db``."""
    quality = judge(task, *_outputs(floats, integer, images), least_db)
    if not quality.sqnr_db >= least_db:
        raise QuantisationError(
            f"{task} must keep a signal-to-noise ratio of {least_db:g} dB in int8, not {quality.sqnr_db:.1f} dB"
            "; find the layer with `edgemtl compare`, keep it in float (--keep-float), or lower --min-sqnr"
        )
    return quality


def _outputs(floats: Sequence[Step], integer: IntegerTask, images: Sequence[Frame]) -> tuple[list[Array], list[Array]]:
    exact: list[Array] = []
    rounded: list[Array] = []
    for image in images:
        exact.append(run_steps(floats, image))
        rounded.append(run_steps(integer.steps, image))
        tick()
    return exact, rounded


def apply(tasks: Tasks, parameters: Parameters, require_int8: bool = False) -> dict[str, IntegerTask]:
    """The integer tasks that these parameters determine: the same that `calibrate` returned together with them.

    Raises what `build_integer` raises, and ConfigError for corrections that do not fit.
    """
    observed = {task: parameters.tasks[task].seen for task in tasks}
    options = QuantiseOptions(keep_float=parameters.keep_float, require_int8=require_int8)
    plain = _build(tasks, observed, options)
    return {task: _corrected(integer, parameters.tasks[task].corrections) for task, integer in plain.items()}


def _levelled(seen: Observation) -> Observation:
    """The observation with equal extremes in all channels, so that none is halved."""
    return replace(seen, channels={i: np.full_like(c, c.max()) for i, c in seen.channels.items()})


def _differences(plain: IntegerTask, corrected: IntegerTask) -> dict[int, Array]:
    """What was added to the bias of each correctable step."""
    places = [place.step for place in plain.correctable]
    differences = {at: _bias(corrected, at) - _bias(plain, at) for at in places}
    return {at: difference for at, difference in differences.items() if difference.any()}


def _bias(task: IntegerTask, step: int) -> Array:
    return task.steps[step].constant("bias").array.astype(np.int64)


def _corrected(plain: IntegerTask, corrections: Mapping[int, Array]) -> IntegerTask:
    steps = list(plain.steps)
    places = {place.step for place in plain.correctable}
    for at, difference in corrections.items():
        bias = steps[at].constant("bias").array if at in places else np.zeros(0)
        if difference.shape != bias.shape or np.any(np.abs(bias + difference.astype(float)) > BIAS_LIMIT):
            raise ConfigError(
                f"integer parameters of {plain.task} must correct biases it has, by what they can hold, "
                f"not those of step {at} by {difference.size} numbers; make the file again"
            )
        steps[at] = _with_bias(steps[at], difference)
    return replace(plain, steps=tuple(steps))


def _with_bias(step: Step, difference: Array) -> Step:
    bias = step.constant("bias")
    return step.with_constant("bias", Constant(bias.name, (bias.array + difference).astype(np.int32)))


def measure_sqnr(floats: Sequence[Step], integer: IntegerTask, images: Sequence[Frame]) -> float:
    """`quality.signal_to_noise` of a task's output on ``images``, in decibel."""
    return signal_to_noise(*_outputs(floats, integer, images))
