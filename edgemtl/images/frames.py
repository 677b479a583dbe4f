"""Files as frames, an array of each input: pictures and arrays for one input, .npz or named files for several."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np

from edgemtl.errors import InputError, UsageError
from edgemtl.images.arrays import HEADER_ERRORS, MAX_ARRAY_BYTES
from edgemtl.images.load import IMAGE_SUFFIXES, InputDescription, LoadedImage, is_array_file, load_image
from edgemtl.suggest import one_of

ARRAYS_SUFFIX = ".npz"
SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
"""Of files that are one input."""


class NamedInput(InputDescription, Protocol):
    """What a model, or a bundle, says about one of its inputs; ``is_image``: pictures can become it."""

    @property
    def name(self) -> str: ...
    @property
    def is_image(self) -> bool: ...


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame: by input, or the one .npz file that has them all. ``path`` names the results."""

    path: Path
    by_input: Mapping[str, Path]


@dataclass(frozen=True)
class LoadedFrame:
    """Arrays by input, whether a picture was resized, and what was done to get there."""

    arrays: Mapping[str, np.ndarray]
    resized: bool = False
    notes: tuple[str, ...] = ()


def expand_frames(inputs: Sequence[NamedInput], given: Sequence[Path]) -> tuple[FrameFiles, ...]:
    """The frames that files, folders of them and NAME=FILE for each input stand for, in order.

    Raises UsageError for NAME=FILE of an input there is not, twice or not of all inputs, InputError for a folder
    without files of inputs.
    """
    names = [of.name for of in inputs]
    named = [pair for path in given if (pair := split_name(path)) is not None]
    if not named:
        return tuple(frame for path in given for frame in _expand(inputs, path))
    if len(named) < len(given):
        raise UsageError("--input must be NAME=FILE for every input, or never; put the frames into .npz files")
    for name, _ in named:
        if name not in names:
            raise UsageError(one_of("NAME of --input NAME=FILE", names, name))
    files = dict(named)
    if len(files) < len(named):
        raise UsageError(f"--input must be given once for each of {', '.join(names)}")
    return (FrameFiles(named[0][1], files),)


def split_name(path: Path) -> tuple[str, Path] | None:
    """The sides of NAME=FILE; None for what is a path itself."""
    name, equals, file = str(path).rpartition("=")
    return (name, Path(file)) if equals and name and not path.exists() else None


def _expand(inputs: Sequence[NamedInput], path: Path) -> Iterator[FrameFiles]:
    for file in list_frames(path, len(inputs)) if path.is_dir() else (path,):
        yield FrameFiles(file, {} if file.suffix.lower() == ARRAYS_SUFFIX else {inputs[0].name: file})


def list_frames(folder: Path, inputs: int = 1) -> tuple[Path, ...]:
    """The files of ``folder`` that are frames of a model with ``inputs``, by name. Raises InputError where there are
    none.
    """
    suffixes = (*SUFFIXES, ARRAYS_SUFFIX) if inputs == 1 else (ARRAYS_SUFFIX,)
    kinds = "PNG, JPEG, .npy or .npz files" if inputs == 1 else f".npz files with an array for each of {inputs} inputs"
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder of {kinds}; there is no such folder")
    files = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes))
    if not files:
        raise InputError(f"{folder}: must hold {kinds}; it holds none")
    return files


def load_frame(files: FrameFiles, inputs: Sequence[NamedInput]) -> LoadedFrame:
    """Read a frame. Raises what `load_image` and `read_arrays` raise, InputError for a file of one of several inputs
    and for a picture of an input that is no image.
    """
    if not files.by_input:
        return LoadedFrame(read_arrays(files.path, [of.name for of in inputs]))
    if len(files.by_input) < len(inputs):
        missing = [of.name for of in inputs if of.name not in files.by_input]
        raise InputError(
            f"{files.path}: the model has {len(inputs)} inputs, and nothing is given for {', '.join(missing)}; "
            f"give NAME=FILE for each of {', '.join(of.name for of in inputs)}, or an .npz file with all of them"
        )
    loaded = {of.name: _load(files.by_input[of.name], of) for of in inputs}
    notes = tuple(note for image in loaded.values() for note in image.notes)
    return LoadedFrame({n: i.array for n, i in loaded.items()}, any(i.resized for i in loaded.values()), notes)


def _load(path: Path, of: NamedInput) -> LoadedImage:
    if not (of.is_image or of.is_camera) and not is_array_file(path):
        raise InputError(f"{path}: input {of.name} is no image [1, C, H, W] in float32; give it as an .npy array")
    return load_image(path, of)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in an .npz file, never unpickled. Raises InputError for anything else.

    Memory is taken after each header was compared with the size of its member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if missing := [name for name in names if f"{name}.npy" not in sizes]:
                given = ", ".join(sorted(member.removesuffix(".npy") for member in sizes)) or "none"
                raise InputError(f"{path}: must have the array {missing[0]}, as of every input, and has {given}")
            if (total := sum(sizes[f"{name}.npy"] for name in names)) > MAX_ARRAY_BYTES:
                raise InputError(f"{path}: arrays must have at most {MAX_ARRAY_BYTES} bytes, not {total}")
            return {name: _read_member(archive.read(f"{name}.npy")) for name in names}
    except (*HEADER_ERRORS, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: must be a readable .npz file of arrays; {error}") from None


def _read_member(data: bytes) -> np.ndarray:
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"an array must be of .npy format 1.0 or 2.0, not {version}")
    with np.errstate(over="raise"):
        shape, _, dtype = read_header[version](file)
    count = 1
    for size in shape:
        count *= size
    if dtype.hasobject or count * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"an array of {dtype} {shape} must have its own size, not {len(data) - file.tell()} bytes")
    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
