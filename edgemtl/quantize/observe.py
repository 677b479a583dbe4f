"""Statistics of a float network's values on calibration images: ranges per step, extremes per channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import InputError
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import INPUT, INPUTS, Step, space_of
from edgemtl.operators import Array, Frame, Values
from edgemtl.operators.norm import normalised
from edgemtl.options import Method
from edgemtl.progress import tick
from edgemtl.quantize.histogram import Histogram

ALL = ".all"
PERCENTILE = 99.99
ENOUGH = 1000
"""Values whose largest says how far others reach; of fewer, the largest is likely to be exceeded."""


@dataclass(frozen=True)
class Range:
    """The values a quantised tensor must reach: low <= 0 <= high."""

    low: float
    high: float

    @property
    def reach(self) -> float:
        """The larger end, for tensors whose zero is 0."""
        return max(-self.low, self.high)

    def union(self, other: Range) -> Range:
        """The smallest range that contains both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def widened(self, count: int) -> Range:
        """The range to expect of `ENOUGH` values where ``count`` were seen: a single number per image is seldom seen.

        The largest of n normal values grows like sqrt(2 ln n).
        """
        if count >= ENOUGH or self == UNBOUNDED:
            return self
        factor = math.sqrt(math.log(ENOUGH) / math.log(max(count, 2)))
        return Range(factor * self.low, factor * self.high)


UNBOUNDED = Range(-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
"""The range of values that cannot be quantised."""


@dataclass(frozen=True)
class Observation:
    """One task on the calibration images.

    ranges: by name, the buffer of a float32 input, or step and part ("12"; "12.pre" in front of an activation; "12.q",
    "12.k", "12.v"; "12.all" is all that was seen, which tensors of 16 bits hold whatever the method).
    channels: per LayerNorm step, the largest magnitude [dim] of each channel of the normalised rows.
    """

    ranges: dict[str, Range]
    channels: dict[int, Array] = field(repr=False)


def observe(steps: Sequence[Step], images: Sequence[Frame], method: Method) -> Observation:
    """Run float steps on the images and determine ranges by ``method``.

    minmax takes all values, percentile cuts 0.005% off each end, entropy takes the range that changes the distribution
    least. Ranges of few values are widened. The work depends on the number of values only, not on the values.
    Raises InputError where a value is infinite or not a number.
    """
    watcher = _Watcher(steps, method)
    for image in images:
        for buffer in watcher.inputs:
            watcher.add(buffer, image[buffer.removeprefix(INPUT)])
        run_steps(steps, image, watcher.watch)
        tick()
    return Observation(watcher.ranges(), dict(watcher.channels))


def float_inputs(steps: Sequence[Step]) -> tuple[str, ...]:
    """The buffers of the float32 inputs that steps read."""
    views = (view for step in steps for view in step.inputs if space_of(view.buffer) == INPUTS)
    return tuple(dict.fromkeys(view.buffer for view in views if view.dtype == "float32"))


class _Watcher:
    def __init__(self, steps: Sequence[Step], method: Method) -> None:
        self.steps, self.method, self.inputs = steps, method, float_inputs(steps)
        self.channels: dict[int, Array] = {}
        self.extremes: dict[str, Range] = {}
        self.histograms: dict[str, Histogram] = {}
        self.counts: dict[str, int] = {}

    def watch(self, index: int, values: Values, outputs: Mapping[str, Array]) -> None:
        operator = self.steps[index].operator
        self.add(str(index), next(iter(outputs.values())))
        self.extremes[f"{index}{ALL}"] = self.extremes[str(index)]
        self.counts[f"{index}{ALL}"] = self.counts[str(index)]
        for part in operator.parts:
            self.add(f"{index}.{part}", operator.part(part, values))
        if isinstance(operator, ops.LayerNorm):
            largest = np.abs(normalised(values["x"], operator.epsilon)).max(0)
            self.channels[index] = np.maximum(self.channels.get(index, 0), largest)

    def add(self, name: str, values: Array) -> None:
        self.counts[name] = self.counts.get(name, 0) + values.size
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        if not np.isfinite(low) or not np.isfinite(high):
            if self._may_be_infinite(name):
                self.extremes[name] = UNBOUNDED
                return
            where = name.removeprefix(INPUT) if name in self.inputs else self.steps[int(name.split(".")[0])].origin[0]
            raise InputError(
                f"{where} must be finite on every calibration image, not {low} to {high}; "
                "leave out that input or repair the weights"
            )
        extremes = Range(min(low, 0.0), max(high, 0.0))
        self.extremes[name] = extremes.union(self.extremes.get(name, extremes))
        if self.method != "minmax":
            self.histograms.setdefault(name, Histogram()).add(values)

    def _may_be_infinite(self, name: str) -> bool:
        """Whether the step is a node that stays in float, or a copy: it may give infinities, as a mask does."""
        return name not in self.inputs and not self.steps[int(name.split(".")[0])].operator.delivers

    def ranges(self) -> dict[str, Range]:
        return {name: of.widened(self.counts[name]) for name, of in self._seen().items()}

    def _seen(self) -> dict[str, Range]:
        if self.method == "minmax":
            return self.extremes
        cut = {name: self._cut(name, histogram) for name, histogram in self.histograms.items()}
        # A range is never cut down to nothing.
        return self.extremes | {name: of for name, of in cut.items() if of.reach > 0}

    def _cut(self, name: str, histogram: Histogram) -> Range:
        """The range by the method, within the extremes."""
        percentile = self.method == "percentile"
        low, high = histogram.percentile(PERCENTILE) if percentile else histogram.least_divergence()
        seen = self.extremes[name]
        return Range(max(low, seen.low), min(high, seen.high))
