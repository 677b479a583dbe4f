"""A precision for every group of layers, so that outputs reach a signal-to-noise ratio at the least cost.

Each group alone runs in int8, and then with wide activations, while the rest of its task stays in float: the noise this
leaves in the output is what the group costs in accuracy. Noise of several groups adds up, so the cheapest choice whose
sum stays within the target's noise is tried. What is measured then decides: where it falls short the sum must become
smaller, and the next choice is tried.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from edgemtl.errors import QuantisationError
from edgemtl.hw.law_weights4 import CodedWeight
from edgemtl.lowering.execute import Memory, read_output, run_step
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array, Frame
from edgemtl.options import QuantiseOptions
from edgemtl.progress import counting, tick
from edgemtl.quantize.align import Tasks
from edgemtl.quantize.build import IntegerTask, build_chosen, matching_steps
from edgemtl.quantize.layer_groups import LayerGroup, group_layers
from edgemtl.quantize.observe import Observation
from edgemtl.quantize.quality import Quality, signal_to_noise
from edgemtl.quantize.widths import Widths, widths_of
from edgemtl.units import format_bytes

Level = Literal["int8", "wide", "float32"]
TIME: Mapping[Level, float] = {"int8": 1.0, "wide": 2.0, "float32": 4.0}
"""Estimated time of a multiply-accumulate: what a vector instruction of AVX-512 with VNNI leaves over."""
WEIGHT_BYTES: Mapping[Level, int] = {"int8": 1, "wide": 1, "float32": 4}
SENSITIVITY_IMAGES = 4
ATTEMPTS = 8
MARGIN_DB = 0.5
"""By how much more than what is missing the next choice must be better."""


@dataclass(frozen=True)
class Samples:
    """Calibration images: those that are calibrated on, and those that the result is checked with."""

    used: Sequence[Frame]
    checked: Sequence[Frame]


@dataclass(frozen=True)
class Integers:
    """Integer tasks before and after bias correction, their quality, and the options that determine them.

    coded: the weights in 4 bits, as of `coding.Coding`.
    """

    plain: Mapping[str, IntegerTask]
    tasks: Mapping[str, IntegerTask]
    quality: Mapping[str, Quality]
    options: QuantiseOptions
    choices: tuple[str, ...] = ()
    coded: Mapping[str, CodedWeight] = field(default_factory=dict, repr=False)

    @property
    def lacking(self) -> dict[str, float]:
        """By task, the decibels that are missing to the target."""
        target = self.options.sqnr_target
        assert target is not None
        missing = {task: target - of.sqnr_db for task, of in self.quality.items()}
        return {task: decibel for task, decibel in missing.items() if decibel > 0}


Noise = Mapping[tuple[int, Level], Mapping[str, float]]
"""By group and level: the noise it leaves in the output of each task, relative to the output's power."""


def reach_target(
    tasks: Tasks,
    seen: Mapping[str, Observation],
    samples: Samples,
    options: QuantiseOptions,
    build: Callable[[QuantiseOptions], Integers],
) -> Integers:
    """The integer tasks of the cheapest choice of levels that reaches ``options.sqnr_target`` on the check images.

    Raises QuantisationError where no choice that was tried does.
    """
    result = build(options)
    if not result.lacking:
        return replace(result, choices=(f"--sqnr-target {options.sqnr_target:g}: reached in int8 alone",))
    groups = _free_groups(tasks, options)
    noise = _measure(tasks, seen, groups, samples.used[:SENSITIVITY_IMAGES], options.require_int8)
    assert options.sqnr_target is not None
    limits = {task: 10 ** (-options.sqnr_target / 10) for task in tasks}
    for _ in range(ATTEMPTS):
        levels = choose_levels(groups, noise, limits)
        result = build(_with_levels(options, groups, levels))
        if not result.lacking:
            return replace(result, choices=_describe(options.sqnr_target, groups, levels))
        for task, missing in result.lacking.items():
            limits[task] *= 10 ** (-(missing + MARGIN_DB) / 10)
    task, missing = max(result.lacking.items(), key=lambda item: item[1])
    allowed = "12-bit activations" if options.require_int8 else "12-bit activations and float32 layers"
    raise QuantisationError(
        f"{task} must reach a signal-to-noise ratio of {options.sqnr_target:g} dB with {allowed}, not "
        f"{options.sqnr_target - missing:.1f} dB; lower --sqnr-target"
        + (" or leave out --require-int8" if options.require_int8 else "")
    )


def _free_groups(tasks: Tasks, options: QuantiseOptions) -> tuple[LayerGroup, ...]:
    """The groups that the user does not keep in float."""
    in_float = {task: matching_steps(steps, options.keep_float) for task, steps in tasks.items()}
    return tuple(
        g for g in group_layers(tasks) if all(in_float[task].isdisjoint(steps) for task, steps in g.steps.items())
    )


def _measure(
    tasks: Tasks,
    seen: Mapping[str, Observation],
    groups: Sequence[LayerGroup],
    frames: Sequence[Frame],
    require_int8: bool,
) -> Noise:
    """The noise of every group at every level it may have."""
    references = {task: _Reference.of(steps, seen[task], frames) for task, steps in tasks.items()}
    levels = [(index, level) for index, group in enumerate(groups) for level in _levels(group, require_int8)]
    noise: dict[tuple[int, Level], Mapping[str, float]] = {}
    with counting("precisions of layers tried", len(levels)):
        for index, level in levels:
            steps = groups[index].steps
            noise[index, level] = {task: references[task].noise_of(chosen, level) for task, chosen in steps.items()}
            tick()
    return noise


def _levels(group: LayerGroup, require_int8: bool) -> tuple[Level, ...]:
    return ("int8", *(("wide",) if group.can_widen else ()), *(() if require_int8 else ("float32",)))


@dataclass(frozen=True)
class _Reference:
    """A task in float: its steps and ranges, its memory behind the last step for every frame, and its outputs."""

    steps: Sequence[Step]
    seen: Observation
    frames: Sequence[Frame]
    memories: Sequence[Memory]
    exact: Sequence[Array]

    @classmethod
    def of(cls, steps: Sequence[Step], seen: Observation, frames: Sequence[Frame]) -> _Reference:
        """Run the steps on the frames."""
        memories = [Memory(steps, frame) for frame in frames]
        for memory in memories:
            for index, step in enumerate(steps):
                run_step(index, step, memory)
        return cls(steps, seen, frames, memories, [read_output(steps, memory) for memory in memories])

    def noise_of(self, chosen: frozenset[int], level: Level) -> float:
        """The noise in the output, relative to its power, where only the steps ``chosen`` leave float.

        The steps before them give what they give in float, so they do not run again.
        """
        if level == "float32":
            return 0.0
        others = frozenset(range(len(self.steps))) - chosen
        widths = widths_of(self.steps, chosen) if level == "wide" else Widths()
        integer = build_chosen({"": self.steps}, {"": self.seen}, {"": others}, {"": widths}, QuantiseOptions())[""]
        outputs = []
        for frame, memory in zip(self.frames, self.memories, strict=True):
            own = Memory(integer.steps, frame)
            own.take_over(memory)
            for index, (step, source) in enumerate(zip(integer.steps, integer.sources, strict=True)):
                if source >= min(chosen):
                    run_step(index, step, own)
            outputs.append(read_output(integer.steps, own))
        return float(10 ** (-signal_to_noise(self.exact, outputs) / 10))


def choose_levels(groups: Sequence[LayerGroup], noise: Noise, limits: Mapping[str, float]) -> tuple[Level, ...]:
    """The level of each group: from int8 on, the change that removes most excess noise for its cost, again and again.

    Then every change is taken back that the limits do without, the most expensive first. Ties go to the first group.
    """
    levels: list[Level] = ["int8"] * len(groups)
    macs, weights = sum(g.macs for g in groups), sum(g.weights for g in groups)

    def price(index: int, level: Level) -> float:
        return _price(groups[index], level, macs, weights)

    while excess := _excess(levels, noise, limits):
        changes = [
            (
                _gain(noise, index, levels[index], level, excess) / (price(index, level) - price(index, levels[index])),
                index,
                level,
            )
            for index, level in noise
            if price(index, level) > price(index, levels[index])
        ]
        gain, index, level = max(changes, key=lambda change: change[0], default=(0.0, 0, "int8"))
        if gain <= 0:
            break
        levels[index] = level
    for index in sorted(range(len(groups)), key=lambda i: -price(i, levels[i])):
        for level in sorted((one for at, one in noise if at == index), key=lambda one: price(index, one)):
            trial: list[Level] = [*levels[:index], level, *levels[index + 1 :]]
            if price(index, level) < price(index, levels[index]) and not _excess(trial, noise, limits):
                levels = trial
    return tuple(levels)


def _price(group: LayerGroup, level: Level, macs: int, weights: int) -> float:
    """The share of time and of bytes that a level adds; a step without weights costs at least a conversion."""
    time = (TIME[level] - 1) * group.macs / max(macs, 1)
    return time + (WEIGHT_BYTES[level] - 1) * group.weights / max(weights, 1) + (TIME[level] - 1) * 1e-6


def _excess(levels: Sequence[Level], noise: Noise, limits: Mapping[str, float]) -> dict[str, float]:
    """By task, the noise beyond its limit, relative to the limit."""
    sums = dict.fromkeys(limits, 0.0)
    for index, level in enumerate(levels):
        for task, amount in noise[index, level].items():
            sums[task] += amount
    return {task: total / limits[task] - 1 for task, total in sums.items() if total > limits[task]}


def _gain(noise: Noise, index: int, old: Level, new: Level, excess: Mapping[str, float]) -> float:
    """How much noise a change removes from the tasks with too much, relative to their excess, at most all of it."""
    before, after = noise[index, old], noise[index, new]
    return sum(
        min((before[task] - after[task]) / max(sum_, 1e-30), 1.0) for task, sum_ in excess.items() if task in before
    )


def _with_levels(options: QuantiseOptions, groups: Sequence[LayerGroup], levels: Sequence[Level]) -> QuantiseOptions:
    """The options with the names of the groups at each level."""
    names = {
        level: tuple(glob.escape(n) for g, one in zip(groups, levels, strict=True) if one == level for n in g.names)
        for level in ("wide", "float32")
    }
    return replace(options, wide=(*options.wide, *names["wide"]), keep_float=(*options.keep_float, *names["float32"]))


def _describe(target: float, groups: Sequence[LayerGroup], levels: Sequence[Level]) -> tuple[str, ...]:
    """What was chosen and what it costs, one note for all and one for each level."""
    both = list(zip(groups, levels, strict=True))
    macs = max(sum(g.macs for g in groups), 1)
    time = sum((TIME[level] - 1) * g.macs for g, level in both) / macs
    more = sum((WEIGHT_BYTES[level] - 1) * g.weights for g, level in both)
    lines = [
        f"--sqnr-target {target:g}: estimated time of layers with weights {time:+.0%}, weights +{format_bytes(more)}"
    ]
    for level, what in (("wide", "reads activations of 12 bits"), ("float32", "runs in float32")):
        lines += [f"--sqnr-target {target:g}: {_name(g)} {what}" for g, one in both if one == level]
    return tuple(lines)


def _name(group: LayerGroup) -> str:
    """The group by its largest layer."""
    others = len(group.names) - 1
    return group.names[0] + (f", with {others} more that it cannot be parted from," if others else "")
