"""What the values of a float network are like on calibration images: ranges per step, extremes per channel."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnxruntime.quantization.calibrate import HistogramCollector

from edgemtl.errors import InputError
from edgemtl.lowering.ir import IMAGE, Array, Step
from edgemtl.options import Method
from edgemtl.progress import tick
from edgemtl.quantize.execute import run_steps
from edgemtl.quantize.reference import FLOAT, conv_sums, expert_sums, linear_sums, normalised
from edgemtl.tvm_bridge import specs, specs_conv

ALL = ".all"
PERCENTILE = 99.99
BINS = 2048


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
        """The smallest range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Observation:
    """One task on the calibration images.

    ranges: by name, "image" or step and part ("12"; "12.pre" in front of an activation; "12.q", "12.k", "12.v";
    "12.all" is all that was seen, which tensors of 16 bits hold whatever the method).
    channels: per LayerNorm step, the largest magnitude [dim] of each channel of the normalised rows.
    """

    ranges: dict[str, Range]
    channels: dict[int, Array] = field(repr=False)


def observe(steps: Sequence[Step], images: Sequence[Array], method: Method) -> Observation:
    """Run float steps on the images and take ranges by ``method``.

    minmax keeps everything seen, percentile cuts 0.005% off each end, entropy is onnxruntime's: the range that changes
    the distribution least.
    Raises InputError where a value is infinite or not a number.
    """
    watcher = _Watcher(steps, method)
    for image in images:
        watcher.add(IMAGE, image)
        run_steps(steps, FLOAT, image, watcher.watch)
        tick()
    return Observation(watcher.ranges(), dict(watcher.channels))


def parts_of(spec: object) -> tuple[str, ...]:
    """What is observed of a step besides its output: sums in front of a curve, or q, k and v."""
    match spec:
        case specs.LinearSpec() | specs.ExpertSpec():
            return ("pre",) if spec.activation else ()
        case specs_conv.Conv2dSpec():
            return ("pre",) if spec.activation not in ("", "relu") else ()
        case specs.AttentionSpec():
            return ("q", "k", "v")
        case _:
            return ()


class _Watcher:
    def __init__(self, steps: Sequence[Step], method: Method) -> None:
        self.steps, self.method = steps, method
        self.channels: dict[int, Array] = {}
        self.extremes: dict[str, Range] = {}
        symmetric, levels = False, 128
        self.histograms = HistogramCollector(method, symmetric, BINS, levels, PERCENTILE, None)

    def watch(self, index: int, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        step = self.steps[index]
        constants = [c.array for c in step.constants]
        self.add(str(index), outputs[0])
        self.extremes[f"{index}{ALL}"] = self.extremes[str(index)]
        match step.spec:
            case specs.LinearSpec() if step.spec.activation:
                self.add(f"{index}.pre", linear_sums(step.spec, inputs, constants))
            case specs.ExpertSpec() if step.spec.activation:
                self.add(f"{index}.pre", expert_sums(step.spec, inputs, constants))
            case specs_conv.Conv2dSpec() if step.spec.activation not in ("", "relu"):
                self.add(f"{index}.pre", conv_sums(step.spec, inputs, constants))
            case specs.AttentionSpec():
                for part, values in zip("qkv", np.split(inputs[0], 3, axis=-1), strict=True):
                    self.add(f"{index}.{part}", values)
            case specs.LayerNormSpec():
                largest = np.abs(normalised(inputs[0], step.spec.epsilon)).max(0)
                self.channels[index] = np.maximum(self.channels.get(index, 0), largest)

    def add(self, name: str, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low) or not np.isfinite(high):
            where = "the image" if name == IMAGE else self.steps[int(name.split(".")[0])].origin[0]
            raise InputError(
                f"{where} must be finite on every calibration image, not {low} to {high}; "
                "leave out the image or repair the weights"
            )
        found = Range(min(low, 0.0), max(high, 0.0))
        self.extremes[name] = found.union(self.extremes.get(name, found))
        if self.method != "minmax":
            with contextlib.redirect_stdout(io.StringIO()):
                self.histograms.collect({name: np.ascontiguousarray(values, np.float32)})

    def ranges(self) -> dict[str, Range]:
        if self.method == "minmax":
            return self.extremes
        with contextlib.redirect_stdout(io.StringIO()):
            found = self.histograms.compute_collection_result()
        cut = {name: Range(min(0.0, float(r[0])), max(0.0, float(r[1]))) for name, r in found.items()}
        # A range is never cut down to nothing.
        return self.extremes | {name: of for name, of in cut.items() if of.reach > 0}
