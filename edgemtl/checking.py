"""How every node of a model would run on a target, before anything is compiled."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgemtl import frontend
from edgemtl.bundle import draw_frame
from edgemtl.codegen import cpu
from edgemtl.codegen.cpu import NodeReport
from edgemtl.codegen.fpga.check import check_board
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.errors import UnsupportedError
from edgemtl.frontend import MultiTaskModel
from edgemtl.frontend.rounding import count_roundings
from edgemtl.hw.spec import is_board, read_spec
from edgemtl.options import CheckOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget, resolve
from edgemtl.quantize import Island
from edgemtl.quantize.images import LEAST_IMAGES
from edgemtl.quantize.quantised_model import Quantised, quantise, quantise_own
from edgemtl.results import CheckResult
from edgemtl.stages import BESIDE, calibration_images, choose_tasks, describe, make_integers, quiet, specialise

NOT_PLACED = (
    "the other nodes are not placed: that takes integer steps, and there are none while a node has no such form"
)


def check_model(path: Path, options: CheckOptions) -> CheckResult:
    """How every node of the chosen tasks (all where empty) would run on ``options.target``.

    What compiling refuses for the model's or the options' sake is refused here by the same functions; no code is
    generated. Integers need scales: those of ``options.parameters``, of ``options.calibration``, or, where neither is
    given, those of a quantised model itself, or of a few random inputs, which have the same structure; a note says so.
    Raises the typed errors of each stage.
    """
    model = describe(frontend.read_model(path, shapes=dict(options.shapes)), options.model)
    images = calibration_images(model, options.model).arrays
    tasks = specialise(model, choose_tasks(model, options.tasks), options.pathway, images)
    target = resolve(BESIDE if is_board(options.target) else options.target, options.threads)
    reports = cpu.check(tasks, target)
    if not options.integer:
        return CheckResult(_planned(reports, tasks, lambda: _plan(tasks, target, None, options)), ())
    if any(report.how == "unsupported" for report in reports):
        return CheckResult(tuple(reports), (NOT_PLACED,))
    try:
        quantised, notes = _structure(model, tasks, target, options)
    except UnsupportedError as error:
        return CheckResult(tuple(cpu.mark_refusal(reports, error, tasks)), (NOT_PLACED,))
    islands = {name: island for task in quantised.integers.values() for island in task.islands for name in island.nodes}
    steps = {name: task.steps for name, task in quantised.integers.items()}
    if is_board(options.target):
        spec = read_spec(options.target)
        program = compile_segments(steps, spec, budget=options.memory_budget)
        nodes = tuple(_with_islands(check_board(tasks, program), islands, options.require_int8))
    else:
        placed = _with_islands(cpu.name_integers(reports, quantised.integers), islands, options.require_int8)
        nodes = _planned(placed, tasks, lambda: _plan(tasks, target, quantised, options))
    return CheckResult(nodes, (*notes, *_island_flags(islands)))


def _with_islands(
    reports: Sequence[NodeReport], islands: Mapping[str, Island], require_int8: bool
) -> Sequence[NodeReport]:
    """The reports with why nodes run in float32, refused where they must not."""

    def explained(report: NodeReport) -> NodeReport:
        island = islands.get(report.node)
        if island is None:
            return report
        if require_int8 and island.cause == "form":
            return cpu.refuse(report, island.reason, "replace the operator, or leave out --require-int8")
        return replace(report, reason=island.reason, hint="")

    return [explained(report) for report in reports]


def _island_flags(islands: Mapping[str, Island]) -> Iterator[str]:
    """The options that ask for what happens anyway, to paste."""
    names = dict.fromkeys(island.node for island in islands.values() if island.cause == "form")
    if names:
        flags = " ".join(f"--keep-float {shlex.quote(glob.escape(name))}" for name in names)
        yield f"to ask for these layers in float32, pass {flags}"


def _plan(
    tasks: tuple[TaskModel, ...], target: CpuTarget, quantised: Quantised | None, options: CheckOptions
) -> object:
    integers = quantised.integers if quantised else None
    return cpu.plan_cpu(tasks, target, memory_budget=options.memory_budget, integers=integers)


def _planned(
    reports: Sequence[NodeReport], tasks: Sequence[TaskModel], plan: Callable[[], object]
) -> tuple[NodeReport, ...]:
    """The reports, and what ``plan`` refuses where they refuse nothing."""
    if any(report.how == "unsupported" for report in reports):
        return tuple(reports)
    try:
        plan()
    except UnsupportedError as error:
        return tuple(cpu.mark_refusal(reports, error, tasks))
    return tuple(reports)


def _structure(
    model: MultiTaskModel, tasks: tuple[TaskModel, ...], target: CpuTarget, options: CheckOptions
) -> tuple[Quantised, tuple[str, ...]]:
    if (asked := options.integers) is not None:
        quantised = make_integers(model, tasks, target, asked, calibration_images(model, asked).arrays, quiet)
        assert quantised is not None
        return quantised, ()
    if count_roundings(model.ir.graph):
        quantised = _chosen(quantise_own(model, tasks, target, options.structure), target, options)
        return quantised, quantised.notes
    generator = np.random.default_rng(0)
    images = {str(i): draw_frame(model.inputs, generator) for i in range(LEAST_IMAGES)}
    note = f"quantised on {LEAST_IMAGES} random inputs, for the structure only: no numbers of it mean anything"
    return _chosen(quantise(model, tasks, target, images, options.structure), target, options), (note,)


def _chosen(quantised: Quantised, target: CpuTarget, options: CheckOptions) -> Quantised:
    """The integers as they are, or with the layers in float32 that are faster so, as compiling does."""
    return quantised if options.all_integer else quantised.faster_on(target)
