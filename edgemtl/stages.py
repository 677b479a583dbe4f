"""Stages that several verbs begin with: the model as the user describes it, its tasks, and their integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from edgemtl import frontend, partition
from edgemtl.errors import UsageError
from edgemtl.frontend import InputSpec, MultiTaskModel
from edgemtl.frontend.camera import take_frames
from edgemtl.frontend.inputs import normalisation_note
from edgemtl.inputs import InputImages, read_folder
from edgemtl.operators import Frame
from edgemtl.options import CompileOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import HOSTS, CpuTarget
from edgemtl.quantize import tasks_with
from edgemtl.quantize.quantised_model import Quantised, from_parameters, quantise, quantise_own, require_scales
from edgemtl.suggest import one_of

Progress = Callable[[str], AbstractContextManager[None]]

BESIDE = HOSTS["a53"]
"""The CPU beside a board's logic."""


def quiet(title: str) -> AbstractContextManager[None]:
    """Progress that says nothing."""
    return nullcontext()


def choose_tasks(model: MultiTaskModel, asked: Sequence[str]) -> tuple[str, ...]:
    """``asked``, or every task of the model. Raises UsageError for names it does not have."""
    known = tuple(task.name for task in model.tasks)
    for name in asked:
        if name not in known:
            raise UsageError(one_of("--task", known, name))
    return tuple(dict.fromkeys(asked)) or known


def describe(model: MultiTaskModel, options: CompileOptions) -> MultiTaskModel:
    """The model with what the user says about its input and tasks. Raises UsageError for what does not fit."""
    model = frontend.rename_tasks(model, dict(options.renames))
    model = frontend.change_kinds(model, dict(options.kinds))
    if options.resize_filter is not None:
        model = _with_inputs(model, [replace(of, resize_filter=options.resize_filter) for of in model.inputs])
    return take_frames(_normalised(model, options), options.cameras)


def _normalised(model: MultiTaskModel, options: CompileOptions) -> MultiTaskModel:
    """The model with the normalisation that the user says."""
    if options.mean is None or options.std is None:
        return model
    image = _image_of(model, options.mean, options.std)
    normalised = replace(image, mean=options.mean, std=options.std)
    notes = tuple(note for note in model.notes if note != normalisation_note(image.name))
    return replace(_with_inputs(model, [normalised if of is image else of for of in model.inputs]), notes=notes)


def _with_inputs(model: MultiTaskModel, inputs: Sequence[InputSpec]) -> MultiTaskModel:
    return replace(model, inputs=tuple(inputs))


def _image_of(model: MultiTaskModel, mean: tuple[float, ...], std: tuple[float, ...]) -> InputSpec:
    """The image that --mean and --std are for. Raises UsageError where it is none, or not one alone."""
    images = [of for of in model.inputs if of.is_image]
    fitting = [of for of in images if len(mean) == len(std) == of.shape[1]]
    if len(fitting) != 1:
        channels = " or ".join(dict.fromkeys(str(of.shape[1]) for of in images))
        which = f"of one input alone, not of {', '.join(of.name for of in fitting)}" if fitting else "of the input"
        raise UsageError(f"--mean and --std must have {channels or 'no'} numbers, one a channel {which}")
    return fitting[0]


def specialise(
    model: MultiTaskModel, names: Sequence[str], pathway: str, images: Mapping[str, Frame]
) -> tuple[TaskModel, ...]:
    """The pathway of every task; ``images`` decide in the calibrated pathway only."""
    return partition.partition(model, names, pathway, list(images.values()) if pathway == "calibrated" else None)


def calibration_images(model: MultiTaskModel, options: CompileOptions) -> InputImages:
    """The images by name; none where nothing asks for them."""
    needed = options.pathway == "calibrated" or options.precision == "int8"
    return read_folder(model, options.calibration) if needed and options.calibration is not None else InputImages({})


def make_integers(
    model: MultiTaskModel,
    tasks: tuple[TaskModel, ...],
    target: CpuTarget,
    options: CompileOptions,
    images: Mapping[str, Frame],
    progress: Progress,
) -> Quantised | None:
    """The integer tasks that the options ask for, of a file of parameters, of ``images``, or of a quantised model's own
    scales; None for float32. Raises UsageError where nothing says scales.

    Unless they are to be bit exact, layers that are faster in float32 on a CPU run so.
    """
    if options.precision != "int8":
        return None
    quantised = _exact_integers(model, tasks, target, options, images, progress)
    return quantised if options.all_integer else quantised.faster_on(target)


def _exact_integers(
    model: MultiTaskModel,
    tasks: tuple[TaskModel, ...],
    target: CpuTarget,
    options: CompileOptions,
    images: Mapping[str, Frame],
    progress: Progress,
) -> Quantised:
    if options.parameters is not None:
        with progress(f"reading {options.parameters}"):
            chosen = [task.task.name for task in tasks]
            together = choose_tasks(model, tasks_with(options.parameters, chosen))
            everyone = specialise(model, together, options.pathway, images)
            require, exact = options.quantise.require_int8, options.all_integer
            return from_parameters(model, everyone, target, options.parameters, require, exact).only(chosen)
    how = replace(options.quantise, by_law=options.all_integer)
    if options.calibration is None:
        require_scales(model, "--precision int8", how)
        with progress("reading the scales of the model"):
            return quantise_own(model, tasks, target, how)
    with progress(f"calibrating on {len(images)} images"):
        return quantise(model, tasks, target, images, how)
