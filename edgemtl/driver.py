"""The table of contents: one call per stage, the work of each done in its room."""

from __future__ import annotations

import glob
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import edgemtl
from edgemtl import bundle, compare, frontend, partition
from edgemtl.bundle import Manifest
from edgemtl.codegen import cpu
from edgemtl.codegen.cpu import NodeReport
from edgemtl.codegen.fpga.check import check_board
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.compare import Comparison, Limits, WatchModules
from edgemtl.compiled import Compiled, TaskSummary, compile_for_board, compile_for_cpu
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.frontend import MultiTaskModel
from edgemtl.frontend.inputs import normalisation_note
from edgemtl.golden import make_golden, make_integer_golden
from edgemtl.hw.spec import AcceleratorSpec, is_board, read_spec
from edgemtl.images import expand
from edgemtl.inputs import InputImages, read_files, read_folder
from edgemtl.options import CheckOptions, CompareOptions, CompileOptions
from edgemtl.partition import Inspection, TaskModel
from edgemtl.paths import check_apart, check_output_file
from edgemtl.processor import HOSTS, CpuTarget, resolve
from edgemtl.quantize import Island, qdq, tasks_with
from edgemtl.quantize.images import LEAST_IMAGES
from edgemtl.quantize.qdq import Distance
from edgemtl.quantize.quantised_model import Quantised, from_parameters, make_exchange, quantise
from edgemtl.selftest import choose_way, verify_bundle, why_no_native_host
from edgemtl.suggest import one_of

Progress = Callable[[str], AbstractContextManager[None]]

BESIDE = HOSTS["a53"]
"""The CPU beside a board's logic."""
NOT_PLACED = (
    "the other nodes are not placed: that takes integer steps, and there are none while a node has no such form"
)


@dataclass(frozen=True)
class CompileResult:
    """What a compilation left; sizes in bytes. ``notes``: every default taken and everything left out.

    on_chip: of a board, by memory.
    """

    bundle: str
    bundle_bytes: int
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    on_chip: Mapping[str, int]
    tasks: tuple[TaskSummary, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class QuantiseResult:
    """What quantisation left; sizes in bytes. tasks: how far law, QDQ model and float model are apart, measured."""

    model: str
    parameters: str
    model_bytes: int
    parameters_bytes: int
    tasks: tuple[Distance, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; where two are equal, or one is constant, the ratio is null."""
        finite = [{k: None if v in (math.inf, -math.inf) else v for k, v in asdict(t).items()} for t in self.tasks]
        return {**asdict(self), "tasks": finite}


@dataclass(frozen=True)
class Share:
    """How many nodes run somewhere, and their multiply-accumulates."""

    where: str
    nodes: int
    macs: int


@dataclass(frozen=True)
class CheckResult:
    """A report for every node, and what it rests on."""

    nodes: tuple[NodeReport, ...]
    notes: tuple[str, ...]

    @property
    def shares(self) -> tuple[Share, ...]:
        """Nodes and multiply-accumulates by where they run, most multiply-accumulates first."""
        found: dict[str, Share] = {}
        for node in self.nodes:
            where = "refused" if node.how == "unsupported" else node.where or "no work"
            share = found.get(where, Share(where, 0, 0))
            found[where] = Share(where, share.nodes + 1, share.macs + node.macs)
        return tuple(sorted(found.values(), key=lambda share: (-share.macs, share.where)))


def quiet(title: str) -> AbstractContextManager[None]:
    """Progress that says nothing."""
    return nullcontext()


def compile_model(path: Path, options: CompileOptions, output: Path, progress: Progress = quiet) -> CompileResult:
    """Compile the ONNX file ``path`` into the bundle ``output``.

    Raises the typed errors of every stage; ``output`` is written whole or not at all.
    """
    board = read_spec(options.target) if is_board(options.target) else None
    target = resolve(BESIDE if board else options.target, options.threads)
    check_output_file("-o", output, (path, *options.files))
    with progress(f"reading {path}"):
        model = describe(frontend.read_model(path), options)
        check_apart("-o", (output,), model.weight_files)
        names = choose_tasks(model, options.tasks)
        calibration = _calibration_images(model, options)
        images = calibration.arrays
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        tasks = specialise(model, names, options.pathway, images)
    quantised = _quantised(model, tasks, target, options, images, progress)
    with progress(f"compiling for {board.name if board else target.name}"):
        made = _compile(tasks, board or target, quantised, options, list(images.values()))
    with progress("making golden inputs and outputs"):
        chosen = list(images.values())
        if quantised:
            golden = make_integer_golden(quantised, model, chosen, options.seed)
        else:
            golden = make_golden(path, model, tasks, chosen, options.seed)
    said = (*made.notes, *(quantised.notes if quantised else ()), *golden.notes)
    notes = (*_input_notes(model, calibration), *(f"{t.task.name}: {n}" for t in tasks for n in t.notes), *said)
    notes = notes if options.selftest else (*notes, "self-test not run: --no-selftest")
    manifest = _manifest(path, model, tasks, made, golden.entries, notes)
    # Which machine compiled must not show in the bundle, so this is said beside it.
    verify, notice = _selftest(manifest, tasks, quantised) if options.selftest else (None, ())
    with progress(f"writing {output}" + (" after its self-test" if verify else "")):
        size = bundle.write_bundle(output, manifest, {**made.sections, **golden.sections}, verify)
    sizes = made.arena_bytes, made.prepared_bytes, made.weights_bytes
    return CompileResult(str(output), size, *sizes, made.on_chip, made.tasks, (*notes, *notice))


def _selftest(
    manifest: Manifest, tasks: tuple[TaskModel, ...], quantised: Quantised | None
) -> tuple[Callable[[Path], None] | None, tuple[str, ...]]:
    """The self-test of a bundle, and how it is run where not by this machine itself; None where it cannot be run."""
    try:
        emulator = choose_way(manifest.program)
    except UnsupportedError as error:
        return None, (f"self-test not run: {error.reason}; {error.hint}",)
    verify = partial(verify_bundle, tasks=tasks, quantised=quantised)
    if emulator:
        return verify, (f"self-test run under {emulator.qemu}",)
    reason = why_no_native_host(manifest.program)
    return verify, (f"self-test without the library for the CPU beside the accelerator: {reason}",) if reason else ()


def _compile(
    tasks: tuple[TaskModel, ...],
    target: CpuTarget | AcceleratorSpec,
    quantised: Quantised | None,
    options: CompileOptions,
    images: list[np.ndarray],
) -> Compiled:
    if isinstance(target, CpuTarget):
        return compile_for_cpu(tasks, target, quantised, options.memory_budget)
    assert quantised is not None, "the options ask for int8 with a board"
    return compile_for_board(tasks, target, quantised, options, images)


def inspect_model(path: Path, renames: Mapping[str, str] = MappingProxyType({})) -> Inspection:
    """What a model holds and what each task of it costs; ``renames`` as of CompileOptions."""
    return partition.inspect_model(frontend.rename_tasks(frontend.read_model(path), renames))


def check_model(path: Path, options: CheckOptions) -> CheckResult:
    """How every node of the chosen tasks (all where empty) would run on ``options.target``.

    What compiling refuses for the model's or the options' sake is refused here by the same functions; no code is
    generated. Integers need scales: those of ``options.parameters``, of ``options.calibration``, or, where neither is
    given, of a few random inputs, which have the same structure; a note says so. Raises the typed errors of each stage.
    """
    model = describe(frontend.read_model(path), options.model)
    images = _calibration_images(model, options.model).arrays
    tasks = specialise(model, choose_tasks(model, options.tasks), options.pathway, images)
    target = resolve(BESIDE if options.board else options.target, options.threads)
    reports = cpu.check(tasks, target)
    if not options.integer:
        return CheckResult(_planned(reports, tasks, lambda: _plan(tasks, target, None, options)), ())
    if any(report.how == "unsupported" for report in reports):
        return CheckResult(tuple(reports), (NOT_PLACED,))
    try:
        quantised, notes = _structure(model, tasks, target, options)
    except UnsupportedError as error:
        return CheckResult(tuple(cpu.mark_refusal(reports, error, tasks)), (NOT_PLACED,))
    islands = {island.node: island for task in quantised.integers.values() for island in task.islands}
    steps = {name: made.steps for name, made in quantised.integers.items()}
    if options.board:
        spec = read_spec(options.target)
        placed = _with_islands(check_board(tasks, steps, spec.engine), islands, options.require_int8)
        budget = options.memory_budget
        nodes = _planned(placed, tasks, lambda: compile_segments(steps, spec, budget=budget))
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
        if require_int8:
            return cpu.refuse(report, island.reason, "replace the operator, or leave out --require-int8")
        return replace(report, reason=island.reason, hint="")

    return [explained(report) for report in reports]


def _island_flags(islands: Mapping[str, Island]) -> Iterator[str]:
    """The options that ask for what happens anyway, to paste."""
    if islands:
        flags = " ".join(f"--keep-float {shlex.quote(glob.escape(name))}" for name in islands)
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
        made = _quantised(model, tasks, target, asked, _calibration_images(model, asked).arrays, quiet)
        assert made is not None
        return made, ()
    generator = np.random.default_rng(0)
    images = {str(i): generator.standard_normal(model.input.shape, np.float32) for i in range(LEAST_IMAGES)}
    note = f"quantised on {LEAST_IMAGES} random inputs, for the structure only: no numbers of it mean anything"
    return quantise(model, tasks, target, images, options.structure), (note,)


def compare_model(
    path: Path, options: CompareOptions, watch: WatchModules | None = None, progress: Progress = quiet
) -> Comparison:
    """Compare two ways to run a task of the ONNX file ``path``, layer by layer; torch runs in ``watch``.

    Raises the typed errors of every stage, and InputError for an image the model cannot take.
    """
    target = resolve(options.target, 1)
    with progress(f"reading {path}"):
        model = describe(frontend.read_model(path), options.model)
        choose_tasks(model, [options.task])
        inputs = read_files(model, {str(file): file for file in expand(options.inputs)})
        images = inputs.arrays
        compare.check_inputs(images, model.input)
        known = read_folder(model, options.calibration).arrays if options.calibration is not None else {}
        names = choose_tasks(model, compare.tasks_needed(options))
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        dropping = list(known.values()) if options.pathway == "calibrated" else None
        tasks = partition.partition(model, names, options.pathway, dropping)
    with progress(f"making the integers of {len(tasks)} tasks") if options.integer else nullcontext():
        integers = compare.make_integers(model, tasks, target, options, known)
    with progress(f"preparing {options.a} and {options.b}"):
        task = next(made for made in tasks if made.task.name == options.task)
        pair = compare.make_pair(task, target, options.sides, integers, watch)
    with progress(f"comparing on {len(images)} images"):
        limits = Limits(options.least_sqnr_db, options.least_agreement)
        notes = (*inputs.notes, *(integers.notes if integers else ()))
        return compare.compare_sides(pair, task, list(images.values()), limits, notes)


def quantize_model(path: Path, options: CompileOptions, output: Path, progress: Progress = quiet) -> QuantiseResult:
    """Quantise the ONNX file ``path`` into the QDQ ONNX ``output`` and the integer parameters beside it, .json.

    Raises the typed errors of every stage; both files are written, after the check of the result, or neither.
    """
    files = qdq.plan_files(output, (path, *options.files))
    with progress(f"reading {path}"):
        model = describe(frontend.read_model(path), options)
        check_apart("-o", (files.model, files.parameters), model.weight_files)
        names = choose_tasks(model, options.tasks)
        calibration = _calibration_images(model, options)
        images = calibration.arrays
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        tasks = specialise(model, names, options.pathway, images)
    with progress(f"calibrating on {len(images)} images"):
        quantised = quantise(model, tasks, resolve(options.target), images, options.quantise)
    with progress("writing QDQ and measuring its distance"):
        made, distances = make_exchange(path.name, tasks, quantised, images)
        qdq.write_both(files, made, quantised.parameters, quantised.floats)
    notes = (
        *_input_notes(model, calibration),
        *(f"{t.task.name}: {n}" for t in tasks for n in t.notes),
        *quantised.notes,
    )
    sizes = files.model.stat().st_size, files.parameters.stat().st_size
    return QuantiseResult(str(files.model), str(files.parameters), *sizes, distances, notes)


def resolve_target(name: str) -> CpuTarget:
    """A target by name; "cpu" is this machine's. Raises UsageError."""
    return resolve(name)


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


def _calibration_images(model: MultiTaskModel, options: CompileOptions) -> InputImages:
    """The images by name; none where nothing asks for them."""
    needed = options.pathway == "calibrated" or options.precision == "int8"
    return read_folder(model, options.calibration) if needed and options.calibration is not None else InputImages({})


def _input_notes(model: MultiTaskModel, calibration: InputImages) -> tuple[str, ...]:
    return (*model.notes, *(f"calibration: {note}" for note in calibration.notes))


def _quantised(
    model: MultiTaskModel,
    tasks: tuple[TaskModel, ...],
    target: CpuTarget,
    options: CompileOptions,
    images: Mapping[str, np.ndarray],
    progress: Progress,
) -> Quantised | None:
    if options.precision != "int8":
        return None
    if options.parameters is not None:
        with progress(f"reading {options.parameters}"):
            chosen = [task.task.name for task in tasks]
            together = choose_tasks(model, tasks_with(options.parameters, chosen))
            everyone = specialise(model, together, options.pathway, images)
            require = options.quantise.require_int8
            return from_parameters(model, everyone, target, options.parameters, require).only(chosen)
    with progress(f"calibrating on {len(images)} images"):
        return quantise(model, tasks, target, images, options.quantise)


def _manifest(
    path: Path,
    model: MultiTaskModel,
    tasks: Sequence[TaskModel],
    made: Compiled,
    golden: Sequence[bundle.GoldenEntry],
    notes: tuple[str, ...],
) -> Manifest:
    document = {
        "schema_version": bundle.SCHEMA_VERSION,
        "tool": {"name": "edgemtl", "version": edgemtl.__version__},
        "model": {"name": path.name.encode(errors="replace").decode(), "sha256": model.sha256},
        "input": asdict(model.input),
        "tasks": [_task_entry(task) for task in tasks],
        "notes": notes,
        "golden": [asdict(entry) for entry in golden],
        "sections": [],
        **made.entries,
    }
    return bundle.parse_manifest(json.loads(json.dumps(document)))


def _task_entry(task: TaskModel) -> dict[str, Any]:
    kept = {field: getattr(task.task, field) for field in ("name", "kind", "channels", "classes")}
    return {**kept, "pathway": task.pathway, "moe": [asdict(m) for m in task.moe], "notes": task.notes}
