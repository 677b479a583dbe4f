"""Stages that several verbs begin with: the model as the user describes it, its tasks, and their integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np

from edgemtl import frontend, partition
from edgemtl.errors import UsageError
from edgemtl.frontend import MultiTaskModel
from edgemtl.frontend.inputs import normalisation_note
from edgemtl.inputs import InputImages, read_folder
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
        model = replace(model, input=replace(model.input, resize_filter=options.resize_filter))
    if options.mean is None or options.std is None:
        return model
    if not len(options.mean) == len(options.std) == model.input.shape[1]:
        raise UsageError(f"--mean and --std must have {model.input.shape[1]} numbers, one a channel of the input")
    notes = tuple(note for note in model.notes if note != normalisation_note(model.input.name))
    return replace(model, input=replace(model.input, mean=options.mean, std=options.std), notes=notes)


def specialise(
    model: MultiTaskModel, names: Sequence[str], pathway: str, images: Mapping[str, np.ndarray]
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
    images: Mapping[str, np.ndarray],
    progress: Progress,
) -> Quantised | None:
    """The integer tasks that the options ask for, of a file of parameters, of ``images``, or of a quantised model's own
    scales; None for float32. Raises UsageError where nothing says scales.
    """
    if options.precision != "int8":
        return None
    if options.parameters is not None:
        with progress(f"reading {options.parameters}"):
            chosen = [task.task.name for task in tasks]
            together = choose_tasks(model, tasks_with(options.parameters, chosen))
            everyone = specialise(model, together, options.pathway, images)
            require = options.quantise.require_int8
            return from_parameters(model, everyone, target, options.parameters, require).only(chosen)
    if options.calibration is None:
        require_scales(model, "--precision int8", options.quantise)
        with progress("reading the scales of the model"):
            return quantise_own(model, tasks, target, options.quantise)
    with progress(f"calibrating on {len(images)} images"):
        return quantise(model, tasks, target, images, options.quantise)
