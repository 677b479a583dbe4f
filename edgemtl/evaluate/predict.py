"""Run a session on image files and write what it says: arrays for programs, pictures and best classes for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgemtl.errors import InputError, UsageError
from edgemtl.evaluate.classes import rank_classes
from edgemtl.images import FrameFiles, LoadedFrame, expand_frames, load_frame
from edgemtl.paths import check_absent, check_apart, output_folder, write_aside
from edgemtl.progress import counted
from edgemtl.report.pictures import colourise
from edgemtl.vocabulary import MAP_CHANNELS, fits_kind

if TYPE_CHECKING:
    from edgemtl.runtime import Session, TaskInfo

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Written:
    """The files one task left for one image, and notes on how the image became an input.

    array: always; picture: of maps; classes: JSON with the best classes of a classification.
    """

    image: str
    task: str
    array: str
    picture: str | None
    classes: str | None
    resized: bool
    notes: tuple[str, ...]


def predict_files(
    session: Session, tasks: Sequence[str], inputs: Sequence[Path], output: Path, force: bool = True
) -> Iterator[Written]:
    """Run ``tasks`` on every frame of ``inputs`` (as of `expand_frames`) and write results into ``output``.

    NAME_TASK.npy is what the model says; NAME_TASK.png of maps, NAME_TASK.json of classifications. The files of a
    result are there whole, or none of them is. Raises UsageError where a result would overwrite an input, another
    result, or without ``force`` any file, OutputError where it cannot be written.
    """
    frames = expand_frames(session.inputs, inputs)
    infos = {task: session.task_info(task) for task in tasks}
    check_results(frames, infos, output, force)
    with output_folder(output):
        for files in counted("images", frames):
            loaded = load_frame(files, session.inputs)
            for task, prediction in run_frame(session, tasks, files.path, loaded.arrays).items():
                yield _write(infos[task], files.path, prediction, output, loaded)


def run_frame(
    session: Session, tasks: Sequence[str], path: Path, frame: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """``Session.run`` of several tasks on the frame read from ``path``, which its InputError names."""
    try:
        return session.run(list(tasks), frame)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_results(frames: Sequence[FrameFiles], infos: Mapping[str, TaskInfo], output: Path, force: bool) -> None:
    """Raise UsageError where two results have one name, a result that of an input, or without ``force`` of any file."""
    sources: dict[Path, Path] = {}
    for path in (frame.path for frame in frames):
        for file in (file for info in infos.values() for file in _results(path, info, output).values()):
            if file in sources:
                raise UsageError(
                    f"--input {path} must have another name: its result {file} is that of {sources[file]}; "
                    "rename one, or run them into two folders"
                )
            sources[file] = path
    check_apart("-o", sources, [path for frame in frames for path in (frame.path, *frame.by_input.values())])
    check_absent("-o", sources, force)


def _results(image: Path, info: TaskInfo, output: Path) -> dict[str, Path]:
    """The files of a result, by suffix."""
    fits = fits_kind(info.kind, info.output_shape)
    suffixes = ["npy"]
    if fits and info.kind in MAP_CHANNELS:
        suffixes.append("png")
    if fits and info.kind == "classification":
        suffixes.append("json")
    return {suffix: output / f"{image.stem}_{info.name}.{suffix}" for suffix in suffixes}


def _write(info: TaskInfo, path: Path, prediction: np.ndarray, output: Path, loaded: LoadedFrame) -> Written:
    files = _results(path, info, output)
    with ExitStack() as stack:
        asides = {suffix: stack.enter_context(write_aside(file)) for suffix, file in files.items()}
        with asides["npy"].open("wb") as file:
            np.save(file, prediction)
        if "png" in asides:
            Image.fromarray(colourise(prediction[0], info.kind)).save(asides["png"], "PNG")
        if "json" in asides:
            asides["json"].write_text(_describe_classes(info, path, prediction[0]), encoding="utf-8")
    picture, classes = (str(files[suffix]) if suffix in files else None for suffix in ("png", "json"))
    return Written(str(path), info.name, str(files["npy"]), picture, classes, loaded.resized, loaded.notes)


def _describe_classes(info: TaskInfo, path: Path, scores: np.ndarray) -> str:
    top = [best.to_json() for best in rank_classes(scores, info.classes)]
    document = {"schema_version": SCHEMA_VERSION, "image": str(path), "task": info.name, "top": top}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
