"""The table of contents: one call per stage, the work of each done in its room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType

import edgemtl
from edgemtl import bundle, compare, frontend, partition
from edgemtl.bundle import Manifest
from edgemtl.checking import check_model
from edgemtl.codegen.compiled import Compiled, compile_for_board, compile_for_cpu
from edgemtl.compare import Comparison, Limits, WatchModules
from edgemtl.errors import UnsupportedError
from edgemtl.frontend import MultiTaskModel
from edgemtl.golden import make_golden, make_integer_golden
from edgemtl.hw.spec import AcceleratorSpec, is_board, read_spec
from edgemtl.inputs import InputImages, read_files, read_folder
from edgemtl.operators import Frame
from edgemtl.options import CompareOptions, CompileOptions, Shapes
from edgemtl.partition import Inspection, TaskModel
from edgemtl.paths import check_apart, check_output_file
from edgemtl.processor import CpuTarget, resolve
from edgemtl.quantize import qdq
from edgemtl.quantize.quantised_model import Quantised, make_exchange, quantise, refuse_quantised
from edgemtl.results import CompileResult, QuantiseResult
from edgemtl.selftest import choose_way, verify_bundle, why_no_native_host
from edgemtl.stages import (
    BESIDE,
    Progress,
    calibration_images,
    choose_tasks,
    describe,
    make_integers,
    quiet,
    specialise,
)

__all__ = ["check_model", "compare_model", "compile_model", "inspect_model", "quantize_model"]


def compile_model(path: Path, options: CompileOptions, output: Path, progress: Progress = quiet) -> CompileResult:
    """Compile the ONNX file ``path`` into the bundle ``output``.

    Raises the typed errors of every stage; ``output`` is written whole or not at all.
    """
    board = read_spec(options.target) if is_board(options.target) else None
    target = resolve(BESIDE if board else options.target, options.threads)
    check_output_file("-o", output, (path, *options.files))
    with progress(f"reading {path}"):
        model = describe(frontend.read_model(path, shapes=dict(options.shapes)), options)
        check_apart("-o", (output,), model.weight_files)
        names = choose_tasks(model, options.tasks)
        calibration = calibration_images(model, options)
        images = calibration.arrays
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        tasks = specialise(model, names, options.pathway, images)
    quantised = make_integers(model, tasks, target, options, images, progress)
    with progress(f"compiling for {board.name if board else target.name}"):
        compiled = _compile(tasks, board or target, quantised, options, list(images.values()))
    with progress("making golden inputs and outputs"):
        chosen = list(images.values())
        if quantised:
            golden = make_integer_golden(quantised, tasks, chosen, options.seed)
        else:
            golden = make_golden(path, model, tasks, chosen, options.seed)
    said = (*compiled.notes, *(quantised.notes if quantised else ()), *golden.notes)
    notes = (*_input_notes(model, calibration), *(f"{t.task.name}: {n}" for t in tasks for n in t.notes), *said)
    notes = notes if options.selftest else (*notes, "self-test not run: --no-selftest")
    manifest = _manifest(path, model, tasks, compiled, golden.entries, notes)
    # Which machine compiled must not show in the bundle, so this is said beside it.
    verify, notice = _selftest(manifest, tasks, quantised) if options.selftest else (None, ())
    with progress(f"writing {output}" + (" after its self-test" if verify else "")):
        size = bundle.write_bundle(output, manifest, {**compiled.sections, **golden.sections}, verify)
    sizes = compiled.arena_bytes, compiled.prepared_bytes, compiled.weights_bytes
    return CompileResult(str(output), size, *sizes, compiled.on_chip, compiled.tasks, (*notes, *notice))


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
    return verify, (f"self-test without the library for the host CPU: {reason}",) if reason else ()


def _compile(
    tasks: tuple[TaskModel, ...],
    target: CpuTarget | AcceleratorSpec,
    quantised: Quantised | None,
    options: CompileOptions,
    images: list[Frame],
) -> Compiled:
    if isinstance(target, CpuTarget):
        return compile_for_cpu(tasks, target, quantised, options.memory_budget)
    assert quantised is not None, "the options ask for int8 with a board"
    return compile_for_board(tasks, target, quantised, options, images)


def inspect_model(path: Path, renames: Mapping[str, str] = MappingProxyType({}), shapes: Shapes = ()) -> Inspection:
    """What a model holds and what each task of it costs; ``renames`` and ``shapes`` as of CompileOptions."""
    return partition.inspect_model(frontend.rename_tasks(frontend.read_model(path, shapes=dict(shapes)), renames))


def compare_model(
    path: Path, options: CompareOptions, watch: WatchModules | None = None, progress: Progress = quiet
) -> Comparison:
    """Compare two ways to run a task of the ONNX file ``path``, layer by layer; torch runs in ``watch``.

    Raises the typed errors of every stage, and InputError for an image the model cannot take.
    """
    target = resolve(options.target, 1)
    with progress(f"reading {path}"):
        model = describe(frontend.read_model(path, shapes=dict(options.shapes)), options.model)
        choose_tasks(model, [options.task])
        inputs = read_files(model, options.inputs)
        images = inputs.arrays
        compare.check_inputs(images, model.inputs)
        known = read_folder(model, options.calibration).arrays if options.calibration is not None else {}
        names = choose_tasks(model, compare.tasks_needed(options))
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        dropping = list(known.values()) if options.pathway == "calibrated" else None
        tasks = partition.partition(model, names, options.pathway, dropping)
    with progress(f"making the integers of {len(tasks)} tasks") if options.integer else nullcontext():
        integers = compare.make_integers(model, tasks, target, options, known)
    with progress(f"preparing {options.a} and {options.b}"):
        task = next(each for each in tasks if each.task.name == options.task)
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
        model = describe(frontend.read_model(path, shapes=dict(options.shapes)), options)
        refuse_quantised(model)
        check_apart("-o", (files.model, files.parameters), model.weight_files)
        names = choose_tasks(model, options.tasks)
        calibration = calibration_images(model, options)
        images = calibration.arrays
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        tasks = specialise(model, names, options.pathway, images)
    with progress(f"calibrating on {len(images)} images"):
        quantised = quantise(model, tasks, resolve(options.target), images, options.quantise)
    with progress("writing QDQ and measuring its distance"):
        exchange, distances = make_exchange(path.name, tasks, quantised, images)
        qdq.write_both(files, exchange, quantised.parameters, quantised.floats)
    notes = (
        *_input_notes(model, calibration),
        *(f"{t.task.name}: {n}" for t in tasks for n in t.notes),
        *quantised.notes,
    )
    sizes = files.model.stat().st_size, files.parameters.stat().st_size
    return QuantiseResult(str(files.model), str(files.parameters), *sizes, distances, notes)


def _input_notes(model: MultiTaskModel, calibration: InputImages) -> tuple[str, ...]:
    return (*model.notes, *(f"calibration: {note}" for note in calibration.notes))


def _manifest(
    path: Path,
    model: MultiTaskModel,
    tasks: Sequence[TaskModel],
    compiled: Compiled,
    golden: Sequence[bundle.GoldenEntry],
    notes: tuple[str, ...],
) -> Manifest:
    manifest = Manifest(
        schema_version=bundle.SCHEMA_VERSION,
        tool=bundle.Tool("edgemtl", edgemtl.__version__),
        model=bundle.ModelEntry(path.name.encode(errors="replace").decode(), model.sha256),
        inputs=tuple(bundle.InputEntry(**asdict(of)) for of in model.inputs),
        tasks=tuple(_task_entry(task) for task in tasks),
        notes=notes,
        program=compiled.program,
        weights=compiled.weights,
        golden=tuple(golden),
    )
    bundle.check_manifest(manifest)
    return manifest


def _task_entry(task: TaskModel) -> bundle.TaskEntry:
    about = task.task
    said = task.pathway, task.reads, task.moe, task.notes
    return bundle.TaskEntry(about.name, about.kind, about.channels, *said, about.classes)
