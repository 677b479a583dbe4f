"""Files as inputs of a model that is not compiled yet: for calibration, for comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemtl.errors import UsageError
from edgemtl.frontend import InputSpec, MultiTaskModel
from edgemtl.images import FrameFiles, expand_frames, is_array_file, list_frames, load_frame, summarise_notes
from edgemtl.operators import Frame


@dataclass(frozen=True)
class InputImages:
    """Frames by the name of their file, and notes on how pictures became inputs."""

    arrays: Mapping[str, Frame]
    notes: tuple[str, ...] = ()


def read_folder(model: MultiTaskModel, folder: Path) -> InputImages:
    """Every frame of a folder, by the name of its file. Raises what `load_frame` raises, and UsageError for a picture
    where neither model nor user says a normalisation.
    """
    files = expand_frames(model.inputs, list_frames(folder, len(model.inputs)))
    return _read(model, {frame.path.name: frame for frame in files})


def read_files(model: MultiTaskModel, paths: Sequence[Path]) -> InputImages:
    """The frames that ``paths`` stand for, as of `expand_frames`. Raises what that and `read_folder` raise."""
    return _read(model, {str(frame.path): frame for frame in expand_frames(model.inputs, paths)})


def _read(model: MultiTaskModel, files: Mapping[str, FrameFiles]) -> InputImages:
    specs = {of.name: of for of in model.inputs}
    for name, path in (pair for frame in files.values() for pair in frame.by_input.items()):
        _check_normalisation(path, specs[name])
    frames = {name: load_frame(frame, model.inputs) for name, frame in files.items()}
    notes = summarise_notes({name: frame.notes for name, frame in frames.items()})
    return InputImages({name: frame.arrays for name, frame in frames.items()}, notes)


def _check_normalisation(path: Path, spec: InputSpec) -> None:
    if spec.is_image and (spec.mean is None or spec.std is None) and not is_array_file(path):
        raise UsageError(f"{path}: pictures must come with --mean and --std, since the model records no normalisation")
