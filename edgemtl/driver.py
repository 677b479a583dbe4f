"""The table of contents: one call per stage, the work of each done in its room."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import edgemtl
from edgemtl import bundle, frontend, partition
from edgemtl.bundle import Manifest
from edgemtl.codegen import cpu
from edgemtl.codegen.cpu import CpuProgram, NodeReport
from edgemtl.errors import UsageError
from edgemtl.frontend import MultiTaskModel
from edgemtl.golden import make_golden
from edgemtl.images import list_images, normalise, read_array, read_rgb, resize_rgb
from edgemtl.options import CompileOptions
from edgemtl.partition import Inspection, TaskModel
from edgemtl.tvm_bridge.target import TARGETS, CpuTarget, resolve

Progress = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class TaskSummary:
    """What was compiled for one task; ``macs`` of one run, bytes of the weights it reads."""

    task: str
    pathway: str
    steps: int
    macs: int
    weight_bytes: int


@dataclass(frozen=True)
class CompileResult:
    """What a compilation left; sizes in bytes. ``notes``: every default taken and everything left out."""

    bundle: str
    bundle_bytes: int
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    tasks: tuple[TaskSummary, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def quiet(title: str) -> AbstractContextManager[None]:
    """Progress that says nothing."""
    return nullcontext()


def compile_model(path: Path, options: CompileOptions, output: Path, progress: Progress = quiet) -> CompileResult:
    """Compile the ONNX file ``path`` into the bundle ``output``.

    Raises the typed errors of every stage; ``output`` is written whole or not at all.
    """
    target = resolve(options.target, options.threads)
    with progress(f"reading {path}"):
        model = describe(frontend.read_model(path), options)
        names = choose_tasks(model, options.tasks)
        images = _calibration_images(model, options)
    with progress(f"specialising {len(names)} tasks, pathway {options.pathway}"):
        tasks = partition.partition(model, names, options.pathway, images)
    with progress(f"compiling for {target.name}"):
        program = cpu.compile_cpu(tasks, target, memory_budget=options.memory_budget, precision=options.precision)
    with progress("asking onnxruntime for the golden outputs"):
        first = images[0] if images else None
        golden, sections, doubts = make_golden(path, model, tasks, first, options.seed)
    notes = (*model.notes, *(f"{t.task.name}: {n}" for t in tasks for n in t.notes), *program.notes, *doubts)
    with progress(f"writing {output}"):
        manifest = _manifest(path, model, tasks, program, golden, notes)
        content = {program_section(program): program.library, "weights.bin": _weights(program), **sections}
        size = bundle.write_bundle(output, manifest, content)
    return _result(output, size, tasks, program, notes)


def inspect_model(path: Path) -> Inspection:
    """What a model holds and what each task of it costs."""
    return partition.inspect_model(frontend.read_model(path))


def check_model(path: Path, target: str, names: Sequence[str]) -> list[NodeReport]:
    """How every node of the chosen tasks (all where empty) would run on ``target``."""
    model = frontend.read_model(path)
    tasks = partition.partition(model, choose_tasks(model, names), "exact")
    return cpu.check(tasks, resolve(target))


def known_targets() -> tuple[CpuTarget, ...]:
    """Every target with a fixed processor."""
    return tuple(TARGETS.values())


def resolve_target(name: str) -> CpuTarget:
    """A target by name; "cpu" is this machine's. Raises UsageError."""
    return resolve(name)


def choose_tasks(model: MultiTaskModel, asked: Sequence[str]) -> tuple[str, ...]:
    """``asked``, or every task of the model. Raises UsageError for names it does not have."""
    known = tuple(task.name for task in model.tasks)
    for name in asked:
        if name not in known:
            raise UsageError(f"--task must be one of {', '.join(known)}, not {name!r}")
    return tuple(dict.fromkeys(asked)) or known


def describe(model: MultiTaskModel, options: CompileOptions) -> MultiTaskModel:
    """The model with what the user says about its input and tasks. Raises UsageError for what does not fit."""
    kinds, names = dict(options.kinds), [task.name for task in model.tasks]
    for name, kind in kinds.items():
        if name not in names or kind not in frontend.model.KINDS:
            tasks, meanings = ", ".join(names), ", ".join(frontend.model.KINDS)
            raise UsageError(f"--kind must be one of {tasks} = one of {meanings}, not {name}={kind}")
    model = replace(model, tasks=tuple(replace(t, kind=kinds.get(t.name, t.kind)) for t in model.tasks))
    if options.mean is None or options.std is None:
        return model
    if not len(options.mean) == len(options.std) == model.input.shape[1]:
        raise UsageError(f"--mean and --std must have {model.input.shape[1]} numbers, one a channel of the input")
    return replace(model, input=replace(model.input, mean=options.mean, std=options.std))


def _calibration_images(model: MultiTaskModel, options: CompileOptions) -> list[np.ndarray] | None:
    if options.pathway != "calibrated" or options.calibration is None:
        return None
    return [load_input(model, path) for path in list_images(options.calibration)]


def load_input(model: MultiTaskModel, path: Path) -> np.ndarray:
    """A picture or .npy file as an input of ``model``. Raises InputError, or UsageError without a normalisation."""
    if path.suffix.lower() == ".npy":
        return read_array(path)
    if model.input.mean is None or model.input.std is None:
        raise UsageError(f"{path}: pictures must come with --mean and --std, since the model records no normalisation")
    return normalise(resize_rgb(read_rgb(path), *model.input.shape[2:]), model.input.mean, model.input.std)


def program_section(program: CpuProgram) -> str:
    """The bundle member that holds the program's library."""
    return str(cpu.to_manifest(program)["program"]["library"])


def _weights(program: CpuProgram) -> bytes:
    section = bytearray(program.weights_bytes)
    for tensor in program.weights:
        section[tensor.offset : tensor.offset + tensor.array.nbytes] = tensor.array.tobytes()
    return bytes(section)


def _manifest(
    path: Path,
    model: MultiTaskModel,
    tasks: Sequence[TaskModel],
    program: CpuProgram,
    golden: tuple[bundle.GoldenEntry, ...],
    notes: tuple[str, ...],
) -> Manifest:
    document = {
        "schema_version": bundle.SCHEMA_VERSION,
        "tool": {"name": "edgemtl", "version": edgemtl.__version__},
        "model": {"name": path.name, "sha256": model.sha256},
        "input": asdict(model.input),
        "tasks": [_task_entry(task) for task in tasks],
        "notes": notes,
        "golden": [asdict(entry) for entry in golden],
        "sections": [],
        **cpu.to_manifest(program),
    }
    return bundle.parse_manifest(json.loads(json.dumps(document)))


def _task_entry(task: TaskModel) -> dict[str, Any]:
    meaning = {"name": task.task.name, "kind": task.task.kind, "channels": task.task.channels}
    return {**meaning, "pathway": task.pathway, "moe": [asdict(m) for m in task.moe], "notes": task.notes}


def _result(
    output: Path, size: int, tasks: Sequence[TaskModel], program: CpuProgram, notes: tuple[str, ...]
) -> CompileResult:
    summaries = tuple(
        TaskSummary(task.task.name, task.pathway, len(made.steps), made.macs, partition.cost_of(task.ir).weight_bytes)
        for task, made in zip(tasks, program.tasks, strict=True)
    )
    return CompileResult(
        str(output),
        size,
        program.arena_bytes,
        program.prepared_bytes,
        program.weights_bytes,
        summaries,
        notes,
    )
