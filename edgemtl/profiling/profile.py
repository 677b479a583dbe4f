"""The table of contents of profiling: open, run, time, and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgemtl.bundle import FpgaProgram, Manifest, open_bundle, read_trust
from edgemtl.errors import UsageError
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.images import expand_frames, load_frame, summarise_notes
from edgemtl.operators import Frame
from edgemtl.profiling.measured import WARMUP, measure_task
from edgemtl.profiling.simulated import Recorded, TaskFrames, record_task, simulate_switches, simulated_task
from edgemtl.progress import counting, tick
from edgemtl.report.profile import SCHEMA_VERSION, MeasuredCpu, Profile, coefficients
from edgemtl.runtime import SegmentRun, Session


@dataclass(frozen=True)
class ProfileOptions:
    """What is profiled. ``tasks`` empty means all; ``runs`` of each task on a CPU, whose times vary.

    keys, min_version, native_host: as of `Session.open`.

    Raises UsageError for a device there is no profile of.
    """

    device: str
    inputs: tuple[Path, ...]
    tasks: tuple[str, ...] = ()
    threads: int = 2
    runs: int = 30
    keys: tuple[Path, ...] | None = None
    min_version: int | None = None
    native_host: bool = False

    def __post_init__(self) -> None:
        if self.device not in ("sim", "cpu"):
            raise UsageError(f"--device must be sim or cpu, not {self.device!r}")
        if not self.inputs:
            raise UsageError("profile must be given at least one --input, a picture, an .npy file or a folder of them")


def profile_bundle(path: Path, options: ProfileOptions) -> Profile:
    """Run ``path`` on the images and say where time goes. Raises what `Session.open` raises, InputError, UsageError."""
    with open_bundle(path, trust=read_trust(options.keys, options.min_version)) as opened:
        manifest = opened.manifest
    trusted: dict[str, Any] = {"keys": options.keys, "min_version": options.min_version}
    opening = Session.open(path, options.device, options.threads, native_host=options.native_host, **trusted)
    with opening as session:
        files = expand_frames(session.inputs, options.inputs)
        loaded = [load_frame(file, session.inputs) for file in files]
        images = [frame.arrays for frame in loaded]
        notes = summarise_notes({str(file.path): frame.notes for file, frame in zip(files, loaded, strict=True)})
        tasks = options.tasks or session.tasks
        names = tuple(file.path.name for file in files)
        if options.device == "sim":
            profile = _simulated(path, session, manifest, tasks, images, names)
        else:
            profile = _measured(path, session, manifest, tasks, images, names, options)
    return replace(profile, notes=(*profile.notes, *notes))


def _simulated(
    path: Path,
    session: Session,
    manifest: Manifest,
    tasks: Sequence[str],
    images: Sequence[Frame],
    names: tuple[str, ...],
) -> Profile:
    program = manifest.program
    assert isinstance(program, FpgaProgram)
    board = program.board
    with counting("images simulated", len(tasks) * len(images)):
        recorded = [Recorded(task, tuple(_simulate(session, task, image) for image in images)) for task in tasks]
    with counting("tasks timed in simulation", len(tasks)):
        frames = [_timed(task, board) for task in recorded]
    profiles = tuple(simulated_task(task, program) for task in frames)
    return Profile(
        schema_version=SCHEMA_VERSION,
        device="sim",
        figures="simulated",
        model=manifest.model.name,
        bundle=path.name,
        board=board,
        cpu=None,
        images=names,
        tasks=profiles,
        cpu_tasks=(),
        switches=simulate_switches(frames, board) if len(frames) > 1 else None,
        coefficients=coefficients(),
        notes=(*manifest.notes, *(note for task in frames for note in task.notes)),
    )


def _simulate(session: Session, task: str, image: Frame) -> tuple[SegmentRun, ...]:
    runs = session.simulate(task, image)
    tick()
    return runs


def _timed(recorded: Recorded, board: AcceleratorSpec) -> TaskFrames:
    frames = record_task(recorded, board)
    tick()
    return frames


def _measured(
    path: Path,
    session: Session,
    manifest: Manifest,
    tasks: Sequence[str],
    images: Sequence[Frame],
    names: tuple[str, ...],
    options: ProfileOptions,
) -> Profile:
    program = manifest.program
    assert not isinstance(program, FpgaProgram)
    with counting("runs", len(tasks) * (options.runs + WARMUP)):
        profiles = tuple(measure_task(session, program, task, images, options.runs) for task in tasks)
    return Profile(
        schema_version=SCHEMA_VERSION,
        device="cpu",
        figures="measured",
        model=manifest.model.name,
        bundle=path.name,
        board=None,
        cpu=MeasuredCpu("this machine", program.target.name, options.threads),
        images=names,
        tasks=(),
        cpu_tasks=profiles,
        switches=None,
        coefficients=(),
        notes=manifest.notes,
    )
