"""What a user's file is, by its first bytes: an .onnx given as a bundle is told so, before anything is imported."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from edgemtl.errors import UsageError
from edgemtl.suggest import nearest

HEAD_BYTES = 64
FILE_LIKENESS = 0.8
"""Of a file's name with what was given; endings alone make 0.6."""
LAYOUT = "images/NAME.png and, for each task, labels: TASK/NAME.png, TASK/NAME.npy or TASK/labels.csv"
"""Of a folder that `edgemtl eval` measures on."""
MODEL, BUNDLE, CHECKPOINT, PICTURE, ARRAY = "an ONNX model", "a bundle", "a checkpoint", "a picture", "an array"
NEXT_STEPS = {
    MODEL: "compile it first: edgemtl compile {path} -o app.edgemtl",
    BUNDLE: "name the .onnx file that it was compiled from; `edgemtl bundle info {path}` shows its name",
    CHECKPOINT: "export it first: edgemtl export --checkpoint {path} -o model.onnx",
    PICTURE: "give it to --input",
    ARRAY: "give it to --input",
}
"""What to do with a file of each kind that stands in the wrong place."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".npz")
MODEL_FIELDS = (b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x32", b"\x3a")
"""How a model's field behind the first begins."""
_MANIFEST_NAME = slice(30, 43)
"""Where the name of a zip file's first member stands."""


def check_model(path: Path) -> None:
    """Raise UsageError unless there is a file at ``path`` that may be an ONNX model."""
    _check("MODEL.onnx", path, MODEL)


def check_bundle(path: Path) -> None:
    """Raise UsageError unless there is a file at ``path`` that may be a bundle."""
    _check("APP.edgemtl", path, BUNDLE)


def check_file(name: str, path: Path | None, what: str) -> None:
    """Raise UsageError unless ``path``, given to the option ``name``, is a file; None is left out."""
    if path is None or _is_file(path):
        return
    if _is_folder(path):
        raise UsageError(f"{name} must be {what}, but {path} is a folder; name a file in it")
    raise UsageError(f"{name} must be {what}, but there is no file {path}; {_check_path(path)}")


def check_folder(name: str, path: Path | None, what: str) -> None:
    """Raise UsageError unless ``path``, given to the option ``name``, is a folder; None is left out."""
    if path is None or _is_folder(path):
        return
    if _is_file(path):
        raise UsageError(f"{name} must be {what}, but {path} is a file; name its folder")
    raise UsageError(f"{name} must be {what}, but there is no folder {path}; {_check_path(path)}")


def check_images(name: str, folder: Path | None) -> None:
    """Raise UsageError unless ``folder``, given to the option ``name``, holds images; None is left out."""
    check_folder(name, folder, "a folder of images")
    if folder is not None:
        if not any(file.suffix.lower() in IMAGE_SUFFIXES for file in folder.iterdir()):
            endings = ", ".join(IMAGE_SUFFIXES)
            raise UsageError(f"{name} must be a folder of images, but {folder} has no {endings} file; name another")


def check_data(folder: Path, tasks: Sequence[str]) -> None:
    """Raise UsageError unless ``folder`` holds images, and something of each task's name that may be its labels."""
    check_folder("--data", folder, f"a folder with {LAYOUT}")
    check_images(f"--data {folder}: images/", folder / "images")
    for task in tasks:
        if not (folder / task).is_dir() and not any(folder.glob(f"{glob.escape(task)}.*")):
            hint = f"create {folder / task}, or choose other tasks with --task"
            raise UsageError(f"--data must be a folder with {LAYOUT}, but {folder} has no labels of {task}; {hint}")


def check_inputs(paths: list[Path]) -> None:
    """Raise UsageError unless each --input is a file that may be an input, NAME=FILE of one, or a folder of them."""
    for path in map(file_of, paths):
        if _is_folder(path):
            check_images("--input", path)
            continue
        check_file("--input", path, "a PNG, JPEG, .npy or .npz file or a folder of them")
        kind = kind_of(path)
        if kind not in (PICTURE, ARRAY) and path.suffix.lower() not in IMAGE_SUFFIXES:
            raise UsageError(
                f"--input must be a PNG, JPEG, .npy or .npz file, but {path} is {kind or 'not one'}; name an image"
            )


def file_of(given: Path) -> Path:
    """The file of NAME=FILE; what is given where that is a path itself."""
    name, equals, file = str(given).rpartition("=")
    return Path(file) if equals and name and not given.exists() else given


def kind_of(path: Path) -> str | None:
    """What the file at ``path`` is; None where its beginning does not say."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return None
    if head.startswith(b"PK\3\4") and path.suffix.lower() == ".npz":
        return ARRAY
    if head.startswith(b"PK\3\4"):
        return BUNDLE if head[_MANIFEST_NAME] == b"manifest.json" else CHECKPOINT
    if head[8:9] == b"{" and path.suffix == ".safetensors":
        return CHECKPOINT
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return PICTURE
    if head.startswith(b"\x93NUMPY"):
        return ARRAY
    # A model begins with its version, field 1 of the message, a small number; another field follows.
    if (path.suffix == ".onnx" and head) or (head[:1] == b"\x08" and head[2:3] in MODEL_FIELDS):
        return MODEL
    return None


def _check(name: str, path: Path, expected: str) -> None:
    check_file(name, path, expected)
    kind = kind_of(path)
    if kind is not None and kind != expected:
        raise UsageError(f"{name} must be {expected}, but {path} is {kind}; {NEXT_STEPS[kind].format(path=path)}")
    if kind is None and expected == MODEL:
        raise UsageError(
            f"{name} must be {expected}, but {path} is not one; name a file that `edgemtl export` or torch wrote"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _check_path(path: Path) -> str:
    """Where the path goes wrong, or a name there is that resembles it."""
    try:
        present = [entry.name for entry in path.absolute().parent.iterdir()]
    except (OSError, ValueError):
        return f"there is no folder {path.parent} either; check the path"
    name = nearest(path.name, present, FILE_LIKENESS)
    return f"did you mean {str(path.with_name(name))!r}?" if name else "check the path"
