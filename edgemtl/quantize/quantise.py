"""The table of contents of quantisation: from float steps and images to integer steps, and their accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from edgemtl.errors import ConfigError, InternalError, QuantisationError, UsageError
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Constant, Step
from edgemtl.lowering.verify import verify
from edgemtl.operators import Array, Frame, Quantise
from edgemtl.options import QuantiseOptions, WeightRules
from edgemtl.progress import counting, tick
from edgemtl.quantize.align import Tasks, share_ranges
from edgemtl.quantize.bias import correct_biases
from edgemtl.quantize.build import IntegerTask, build_integer
from edgemtl.quantize.coding import Coded, Coding, check_rules, code_weights, find_coded, with_codes
from edgemtl.quantize.correctable import Correctable
from edgemtl.quantize.images import split
from edgemtl.quantize.observe import Observation, observe
from edgemtl.quantize.own_scales import take_scales
from edgemtl.quantize.parameters import Parameters, TaskParameters
from edgemtl.quantize.quality import Quality, judge, signal_to_noise
from edgemtl.quantize.search import Integers, Samples, reach_target
from edgemtl.quantize.weights import BIAS_LIMIT

CORRECTION_IMAGES = 16
"""Images that bias correction uses; the mean of a channel converges with fewer."""
CHECK_IMAGES = 8


def calibrate(
    model: str, pathway: str, tasks: Tasks, images: Sequence[Frame], options: QuantiseOptions
) -> tuple[Parameters, dict[str, IntegerTask]]:
    """Integer parameters and tasks of float steps; every fourth image is reserved for the check.

    Raises what `build_integer` raises, QuantisationError where a task fails the check, and UsageError for a target or
    weights of 4 bits with a quantised model, whose precisions are its own.
    """
    if options.sqnr_target is not None and is_quantised(tasks):
        raise UsageError(
            "--sqnr-target must be given with a float model, not with one that is quantised already; leave it out, "
            "or compile the float model"
        )
    if is_quantised(tasks):
        _refuse_rules(options)
    used, checked = split(images)
    with counting("images run for ranges", len(tasks) * len(used)):
        observed = {task: observe(steps, used, options.method) for task, steps in tasks.items()}
    if not options.quieten:
        observed = {task: _levelled(seen) for task, seen in observed.items()}
    samples = Samples(used, checked[:CHECK_IMAGES])
    if options.sqnr_target is None:
        result = _integers(tasks, observed, samples, options)
    else:
        result = reach_target(
            tasks, share_ranges(tasks, observed), samples, options, partial(_integers, tasks, observed, samples)
        )
    parts = {
        task: TaskParameters(observed[task], _differences(result.plain[task], result.tasks[task])) for task in tasks
    }
    sqnr = {task: of.sqnr_db for task, of in result.quality.items()}
    notes = tuple(note for of in result.quality.values() for note in of.notes)
    how = options.method, len(images), result.options.keep_float, result.options.wide
    weights = options.weights, result.coded
    return Parameters(model, pathway, *how, parts, sqnr, notes, result.choices, *weights), dict(result.tasks)


def _integers(
    tasks: Tasks, observed: Mapping[str, Observation], samples: Samples, options: QuantiseOptions
) -> Integers:
    """Integer tasks by ``options``, corrected and checked."""
    plain = _build(tasks, observed, options)
    coding = code_weights(tasks, plain, options.weights, samples.used) if options.weights else Coding()
    plain = _coded(tasks, plain, options.weights, coding.weights)
    # The biases of a quantised model are its own.
    correct = options.correct and not is_quantised(tasks)
    integers = correct_biases(tasks, plain, samples.used[:CORRECTION_IMAGES]) if correct else plain
    for integer in integers.values():
        verify("bias correction", integer.steps)
    least = -math.inf if options.sqnr_target is not None else options.least_sqnr_db
    with counting("images checked", len(tasks) * len(samples.checked)):
        quality = {task: check_task(task, tasks[task], integers[task], samples.checked, least) for task in tasks}
    return Integers(plain, integers, quality, options, coding.notes, coding.weights)


def _coded(
    tasks: Tasks, integers: Mapping[str, IntegerTask], rules: WeightRules, weights: Coded
) -> dict[str, IntegerTask]:
    """The integer tasks with the weights in 4 bits that ``rules`` ask for. Raises what `check_rules` raises."""
    check_rules(tasks, rules)
    return {task: with_codes(of, find_coded(tasks[task], of, rules), weights) for task, of in integers.items()}


def keep_scales(
    model: str, pathway: str, tasks: Tasks, options: QuantiseOptions
) -> tuple[Parameters, dict[str, IntegerTask]]:
    """Integer tasks by the scales that a quantised model brings along; what has none stays in float.

    Raises what `build_integer` raises, and UsageError for weights of 4 bits.
    """
    _refuse_rules(options)
    nothing = Observation({}, {})
    integers = _build(tasks, dict.fromkeys(tasks, nothing), options)
    parts = {task: TaskParameters(nothing, {}) for task in tasks}
    return Parameters(model, pathway, OWN_METHOD, 0, options.keep_float, options.wide, parts, {}), integers


def _refuse_rules(options: QuantiseOptions) -> None:
    """Raise UsageError where weights of a quantised model, which has integers of its own, are to have 4 bits."""
    if options.weights:
        raise UsageError(
            "--weights must be given with a float model, not with one that is quantised already; leave it out, "
            "or compile the float model"
        )


OWN_METHOD = "own"
"""The method of parameters whose scales are those of a quantised model."""


def is_quantised(tasks: Tasks) -> bool:
    """Whether float steps round values as a quantised model does."""
    return any(isinstance(step.operator, Quantise) for steps in tasks.values() for step in steps)


def _build(
    tasks: Tasks, observed: Mapping[str, Observation], options: QuantiseOptions, fast_on: str | None = None
) -> dict[str, IntegerTask]:
    """The integer tasks of float steps and what was observed of these; ``fast_on`` as of `build_integer`."""
    scaled = {task: take_scales(steps) for task, steps in tasks.items()}
    floats = {task: of.steps for task, of in scaled.items()}
    seen = share_ranges(floats, {task: of.observed(observed[task]) for task, of in scaled.items()})
    integers = build_integer(floats, seen, options, {task: of.tensors for task, of in scaled.items()}, fast_on)
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
            "; calibrate on more images, let --sqnr-target choose precisions, keep the layers in float that "
            "`edgemtl compare` finds (--keep-float), or lower --min-sqnr"
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


def apply(
    tasks: Tasks, parameters: Parameters, require_int8: bool = False, by_law: bool = False
) -> dict[str, IntegerTask]:
    """The integer tasks that these parameters determine: the same that `calibrate` returned together with them.

    ``require_int8`` and ``by_law`` as of QuantiseOptions. Raises what `build_integer` raises, and ConfigError for
    corrections and 4-bit weights that do not fit.
    """
    observed = {task: parameters.tasks[task].seen for task in tasks}
    options = QuantiseOptions(
        keep_float=parameters.keep_float, require_int8=require_int8, by_law=by_law, wide=parameters.wide
    )
    plain = _coded(tasks, _build(tasks, observed, options), parameters.weights, parameters.coded)
    return {task: _corrected(integer, parameters.tasks[task].corrections) for task, integer in plain.items()}


def prefer_speed(
    tasks: Tasks, parameters: Parameters, integers: Mapping[str, IntegerTask], target: str
) -> dict[str, IntegerTask]:
    """The tasks that `apply` or `calibrate` gives, with the steps in float32 that are faster so on ``target``.

    What stays in integers has the scales and the corrected biases that it has there.
    """
    options = QuantiseOptions(keep_float=parameters.keep_float, wide=parameters.wide)
    faster = _build(tasks, {task: parameters.tasks[task].seen for task in tasks}, options, target)
    if not any(island.cause == "speed" for task in faster.values() for island in task.islands):
        return dict(integers)
    return {task: _with_biases_of(faster[task], integers[task]) for task in tasks}


def _with_biases_of(task: IntegerTask, corrected: IntegerTask) -> IntegerTask:
    """A task with the biases that another has for the same float steps: all that a correction changes."""
    biases = {(place.source, turn): place for place, turn in _by_turns(corrected.correctable)}
    steps = list(task.steps)
    for place, turn in _by_turns(task.correctable):
        other = biases[place.source, turn]
        if not np.array_equal(place.unit, other.unit):
            raise InternalError(
                f"the sums of {steps[place.step].origin[0]} must keep their scale where others run in float"
            )
        steps[place.step] = steps[place.step].with_constant("bias", corrected.steps[other.step].constant("bias"))
    return replace(task, steps=tuple(steps))


def _by_turns(places: Sequence[Correctable]) -> Iterator[tuple[Correctable, int]]:
    """Each place with how many of the same float step come before it."""
    counts: dict[int, int] = {}
    for place in places:
        counts[place.source] = counts.get(place.source, -1) + 1
        yield place, counts[place.source]


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
