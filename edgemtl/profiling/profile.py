"""The table of contents of profiling: open, run, time, and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemtl.bundle import FpgaProgram, Manifest, open_bundle
from edgemtl.errors import UsageError
from edgemtl.evaluate.predict import expand, load_image
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.profiling.measured import WARMUP, measure_task
from edgemtl.profiling.simulated import Recorded, TaskFrames, record_task, simulate_switches, simulated_task
from edgemtl.progress import counting, tick
from edgemtl.report.profile import SCHEMA_VERSION, CpuTarget, Profile, coefficients
from edgemtl.runtime import SegmentRun, Session
from edgemtl.runtime.images import FloatArray


@dataclass(frozen=True)
class ProfileOptions:
    """What is profiled. ``tasks`` empty means all; ``runs`` of each task on a CPU, whose times vary.

    Raises UsageError for a device there is no profile of.
    """

    device: str
    inputs: tuple[Path, ...]
    tasks: tuple[str, ...] = ()
    threads: int = 2
    runs: int = 30

    def __post_init__(self) -> None:
        if self.device not in ("sim", "cpu"):
            raise UsageError(f"--device must be sim or cpu, not {self.device!r}")
        if not self.inputs:
            raise UsageError("profile must be given at least one --input, a picture, an .npy file or a folder of them")


def profile_bundle(path: Path, options: ProfileOptions) -> Profile:
    """Run ``path`` on the images and say where time goes. Raises what `Session.open` raises, InputError, UsageError."""
    with open_bundle(path) as opened:
        manifest = opened.manifest
    with Session.open(path, options.device, options.threads) as session:
        files = expand(options.inputs)
        images = [load_image(session, file).array for file in files]
        tasks = options.tasks or session.tasks
        names = tuple(file.name for file in files)
        if options.device == "sim":
            return _simulated(path, session, manifest, tasks, images, names)
        return _measured(path, session, manifest, tasks, images, names, options)


def _simulated(
    path: Path,
    session: Session,
    manifest: Manifest,
    tasks: Sequence[str],
    images: Sequence[FloatArray],
    names: tuple[str, ...],
) -> Profile:
    program = manifest.program
    assert isinstance(program, FpgaProgram)
    board = program.board
    with counting("images simulated", len(tasks) * len(images)):
        recorded = [Recorded(task, tuple(_simulate(session, task, image) for image in images)) for task in tasks]
    with counting("tasks timed in simulation", len(tasks)):
        frames = [_timed(made, board) for made in recorded]
    left = {task: tuple(f"{', '.join(s.origin)}: {s.reason}" for s in program.tasks[task].left) for task in tasks}
    made = tuple(simulated_task(held, board, left[held.task]) for held in frames)
    return Profile(
        schema_version=SCHEMA_VERSION,
        device="sim",
        figures="simulated",
        model=manifest.model.name,
        bundle=path.name,
        board=board,
        cpu=None,
        images=names,
        tasks=made,
        cpu_tasks=(),
        switches=simulate_switches(frames, board) if len(frames) > 1 else None,
        coefficients=coefficients(),
        notes=(*manifest.notes, *(note for held in frames for note in held.notes)),
    )


def _simulate(session: Session, task: str, image: FloatArray) -> tuple[SegmentRun, ...]:
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
    images: Sequence[FloatArray],
    names: tuple[str, ...],
    options: ProfileOptions,
) -> Profile:
    program = manifest.program
    assert not isinstance(program, FpgaProgram)
    with counting("runs", len(tasks) * (options.runs + WARMUP)):
        made = tuple(measure_task(session, program, task, images, options.runs) for task in tasks)
    return Profile(
        schema_version=SCHEMA_VERSION,
        device="cpu",
        figures="measured",
        model=manifest.model.name,
        bundle=path.name,
        board=None,
        cpu=CpuTarget("this machine", program.target.name, options.threads),
        images=names,
        tasks=(),
        cpu_tasks=made,
        switches=None,
        coefficients=(),
        notes=manifest.notes,
    )
