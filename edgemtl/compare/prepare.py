"""What a comparison needs besides its sides: images, and the integers of int8 and functional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgemtl.frontend import InputSpec, MultiTaskModel
from edgemtl.frontend.frames import check_frame
from edgemtl.hw.spec import is_board
from edgemtl.operators import Frame
from edgemtl.options import CompareOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget
from edgemtl.quantize import tasks_with
from edgemtl.quantize.quantised_model import Quantised, from_parameters, quantise, quantise_own, require_scales


def check_inputs(images: Mapping[str, Frame], inputs: Sequence[InputSpec]) -> None:
    """Raise InputError naming the first image that the model cannot take."""
    for name, frame in images.items():
        check_frame(name, frame, inputs)


def tasks_needed(options: CompareOptions) -> tuple[str, ...]:
    """The tasks to be partitioned: with integers those whose scales are taken together, empty for all of the model.

    Raises UsageError where the file of parameters does not hold the task.
    """
    if not options.integer:
        return (options.task,)
    if options.parameters is None:
        return ()
    return tasks_with(options.parameters, [options.task])


def make_integers(
    model: MultiTaskModel,
    tasks: tuple[TaskModel, ...],
    target: CpuTarget,
    options: CompareOptions,
    images: Mapping[str, Frame],
) -> Quantised | None:
    """The integer tasks, however far off they are: that is what is to be seen. None where no side needs them.

    Raises UsageError for parameters of another pathway, and what calibration or their reader raise.
    """
    if not options.integer:
        return None
    by_law = "functional" in options.sides or is_board(options.target)
    if options.calibration is None and options.parameters is None:
        require_scales(model, "int8 and functional", options.quantise)
        return quantise_own(model, tasks, target, replace(options.quantise, by_law=by_law))
    if options.parameters is None:
        return quantise(model, tasks, target, images, replace(options.quantise, least_sqnr_db=float("-inf")))
    return from_parameters(model, tasks, target, options.parameters, by_law=by_law)
