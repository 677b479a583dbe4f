"""From a partitioned model to its integer tasks: calibrated on images, or built from a file of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgemtl.errors import UsageError
from edgemtl.frontend import MultiTaskModel
from edgemtl.frontend.rounding import count_roundings
from edgemtl.lowering.ir import Step
from edgemtl.lowering.task import group_task, lower_task
from edgemtl.operators import Frame
from edgemtl.options import QuantiseOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget
from edgemtl.quantize.build import IntegerTask, Island
from edgemtl.quantize.images import OF_ALL, check_images, copies_note, split
from edgemtl.quantize.parameters import Parameters, read_parameters
from edgemtl.quantize.qdq import Distance, Origin, make_qdq, measure_distances
from edgemtl.quantize.quantise import (
    CHECK_IMAGES,
    OWN_METHOD,
    apply,
    calibrate,
    is_quantised,
    keep_scales,
    prefer_speed,
)

CAUSES = {
    "model": ("run in float32 between roundings, as in the model", ""),
    "form": ("have no integer form and run in float32", ""),
    "speed": ("run in float32 because that is faster", "; --bit-exact runs them in integers"),
}
"""What is said of the steps in float32, by the cause of an `Island`."""


@dataclass(frozen=True)
class Quantised:
    """All tasks in float steps and in integer steps, and the parameters that determine the integers."""

    floats: Mapping[str, Sequence[Step]]
    integers: Mapping[str, IntegerTask]
    parameters: Parameters

    def only(self, tasks: Sequence[str]) -> Quantised:
        """The same with only some of its tasks; their integers do not change."""
        return replace(self, integers={task: self.integers[task] for task in tasks})

    def faster_on(self, target: CpuTarget) -> Quantised:
        """The same with the steps in float32 that are faster so on a target; with weights in 4 bits as it is."""
        if self.parameters.weights:
            return self
        floats = {task: self.floats[task] for task in self.integers}
        return replace(self, integers=prefer_speed(floats, self.parameters, self.integers, target.name))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the quantised model."""
        parameters = self.parameters
        float_layers = [
            f"{t}: {name} stays in float32" for t, integer in self.integers.items() for name in integer.float_layers
        ]
        float_layers += [note for task, integer in self.integers.items() for note in _island_notes(task, integer)]
        float_layers += [
            f"{task}: {name} has weights that are not integers of 8 bits in the model; they are quantised per channel"
            for task, integer in self.integers.items()
            for name in integer.coarsened
        ]
        about = {OF_ALL, *self.integers}
        doubts = (note for note in parameters.notes if note.partition(":")[0] in about)
        return self._how, *parameters.choices, *doubts, *float_layers

    @property
    def _how(self) -> str:
        """Where the scales come from, and how accurate the outputs are, where images told."""
        parameters = self.parameters
        if parameters.method == OWN_METHOD:
            return "int8 by the scales of the model itself; the accuracy of its outputs is that of the model"
        ratios = ", ".join(f"{task} {parameters.sqnr_db[task]:.1f} dB" for task in self.integers)
        how = f"int8 by {parameters.method} on {parameters.images} images"
        how += ", where the model has no scales of its own" if is_quantised(self.floats) else ""
        return f"{how}; signal to noise of the outputs: {ratios}"


def _island_notes(task: str, integer: IntegerTask) -> Iterator[str]:
    """How much of a task runs in float32 without the user asking for it, and why."""
    total = sum(step.operator.macs for step in integer.steps)
    for cause, (what, remedy) in CAUSES.items():
        islands = [island for island in integer.islands if island.cause == cause]
        if islands:
            yield f"{task}: {len(islands)} steps {what}, {_share(islands, total)}{remedy}"
    lines = (
        f"{task}: {island.node} runs in float32: {island.reason}"
        for island in integer.islands
        if island.cause != "model"
    )
    yield from dict.fromkeys(lines)  # the steps of a mixture are one layer to a user


def _share(islands: Sequence[Island], total: int) -> str:
    macs = sum(island.macs for island in islands)
    return f"{macs / total:.1%} of its multiply-accumulates" if total else "no multiply-accumulates"


def float_steps(tasks: Sequence[TaskModel], target: CpuTarget) -> dict[str, tuple[Step, ...]]:
    """The float steps of every task, convolutions in their direct form."""
    return {t.task.name: lower_task(group_task(t.task.name, t.ir), target, None).steps for t in tasks}


def quantise(
    model: MultiTaskModel,
    tasks: Sequence[TaskModel],
    target: CpuTarget,
    images: Mapping[str, Frame],
    options: QuantiseOptions,
) -> Quantised:
    """Calibrate on ``images`` by name. Raises what `check_images` and `calibrate` raise."""
    frames = list(images.values())
    check_images(frames, list(images), model.inputs)
    floats = float_steps(tasks, target)
    parameters, integers = calibrate(model.sha256, tasks[0].pathway, floats, frames, options)
    return Quantised(floats, integers, replace(parameters, notes=(*copies_note(frames), *parameters.notes)))


def require_scales(model: MultiTaskModel, what: str, options: QuantiseOptions) -> None:
    """Raise UsageError where ``what`` has neither images nor parameters, and the model no scales of its own."""
    if not count_roundings(model.ir.graph):
        raise UsageError(
            f"{what} must come with --calibration FOLDER, from whose images scales are taken, "
            "or with --parameters FILE from `edgemtl quantize`"
        )
    default = QuantiseOptions()
    asked = options.method, options.least_sqnr_db, options.sqnr_target
    if asked != (default.method, default.least_sqnr_db, default.sqnr_target):
        raise UsageError(
            "--method, --min-sqnr and --sqnr-target must come with --calibration FOLDER: "
            "without images they say nothing"
        )


def refuse_quantised(model: MultiTaskModel) -> None:
    """Raise UsageError for a model that is quantised already: its integers are to be kept."""
    if count := count_roundings(model.ir.graph):
        raise UsageError(
            f"quantize must be given a float model, not one that rounds {count} values to integers already; "
            "compile it with --precision int8, which keeps its scales"
        )


def quantise_own(
    model: MultiTaskModel, tasks: Sequence[TaskModel], target: CpuTarget, options: QuantiseOptions
) -> Quantised:
    """By the scales of a quantised model. Raises what `keep_scales` raises."""
    floats = float_steps(tasks, target)
    parameters, integers = keep_scales(model.sha256, tasks[0].pathway, floats, options)
    return Quantised(floats, integers, parameters)


def from_parameters(
    model: MultiTaskModel,
    tasks: Sequence[TaskModel],
    target: CpuTarget,
    path: Path,
    require_int8: bool = False,
    by_law: bool = False,
) -> Quantised:
    """The integer tasks that a file of parameters determines; ``require_int8`` and ``by_law`` as of QuantiseOptions.

    Raises what `read_parameters` raises, and UsageError for a file made with another pathway.
    """
    floats = float_steps(tasks, target)
    parameters = read_parameters(path, model.sha256, floats)
    if (pathway := parameters.pathway) != tasks[0].pathway:
        raise UsageError(f"--pathway must be {pathway}, which {path} was made with, not {tasks[0].pathway}")
    return Quantised(floats, apply(floats, parameters, require_int8, by_law), parameters)


def make_exchange(
    name: str, tasks: Sequence[TaskModel], quantised: Quantised, images: Mapping[str, Frame]
) -> tuple[onnx.ModelProto, tuple[Distance, ...]]:
    """The QDQ model of the float file ``name``, and its distances on the check images."""
    parameters = quantised.parameters
    origin = Origin(name, parameters.model, parameters.pathway, parameters.method, parameters.images)
    model = make_qdq(tasks, quantised.floats, quantised.integers, origin)
    outputs = {task.task.name: task.task.output for task in tasks}
    checked = split(list(images.values()))[1][:CHECK_IMAGES]
    return model, measure_distances(model, outputs, quantised.floats, quantised.integers, checked)
