"""Files of the user: checked before any work; results are written aside, and are there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgemtl.errors import ModelError, OutputError, UsageError

MAX_NAME_BYTES = 255
_ASIDE = re.compile(r"\.edgemtl-[0-9a-f]{16}\.part")
"""Names of our unfinished files and folders. Each is locked while its writer lives; the lock dies with the process."""


def check_model_file(path: Path) -> None:
    """Raise ModelError unless there is a file at ``path``."""
    if not path.is_file():
        raise ModelError(f"{path} must be an ONNX file, not a missing one or a folder; check the path")


def check_output_file(flag: str, path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Raise UsageError unless a file can be written at ``path`` without losing one of ``inputs``.

    inputs: files that are read, and folders whose files are; None is left out. ``flag`` names the option in messages.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{flag} must be the name of a file, and {path} is a folder; add a name to it")
        if path.exists() and not path.is_file():
            raise UsageError(f"{flag} must be a file, not the device {path}; name a file")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"the folder of {flag} {path} must exist; create it first")
    except OSError as error:
        raise UsageError(f"{flag} must be a name for a file, and {path} is none: {error.strerror}") from None
    _check_name(flag, path)
    _check_writable(flag, path.absolute().parent)
    check_apart(flag, (path,), inputs)


def check_output_pair(output: Path, inputs: Iterable[Path | None]) -> tuple[Path, Path]:
    """``output``, a QDQ model, and the .json beside it, for its integer parameters.

    Raises UsageError where either cannot be written, or is one of ``inputs``.
    """
    if output.suffix != ".onnx":
        raise UsageError(f"-o must end in .onnx, since the parameters go to .json beside it, not {output}")
    parameters, read = output.with_suffix(".json"), tuple(inputs)
    check_output_file("-o", output, read)
    check_output_file("-o, for the parameters beside it,", parameters, read)
    return output, parameters


def check_output_folder(flag: str, path: Path) -> None:
    """Raise UsageError unless ``path`` is a folder that can be written to, or can be made."""
    try:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{flag} must be a folder, and {path} is a file; name another folder")
        place = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    except OSError as error:
        raise UsageError(f"{flag} must be a name for a folder, and {path} is none: {error.strerror}") from None
    if not place.is_dir():
        raise UsageError(f"{flag} must be a folder, and {place} above {path} is a file; name another folder")
    _check_writable(flag, place)


def check_apart(flag: str, outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise UsageError where an output is one of the inputs, by whatever name or link."""
    known = {identity: path for path in inputs if path is not None for identity in _identities(path)}
    for output in outputs:
        if (source := known.get(_identity(output) or (-1, -1))) is not None:
            raise UsageError(f"{flag} must not overwrite what is read: {output} is {source}; name another file")


def check_absent(flag: str, outputs: Iterable[Path], force: bool) -> None:
    """Raise UsageError where an output is there already, unless ``force`` says to overwrite it."""
    if force:
        return
    if (present := next((path for path in outputs if path.exists()), None)) is not None:
        raise UsageError(f"{flag} must not overwrite {present}, which is there already; name another, or add --force")


def _identities(path: Path) -> Iterator[tuple[int, int]]:
    files = path.iterdir() if path.is_dir() else (path,)
    yield from (identity for file in files if (identity := _identity(file)) is not None)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_name(flag: str, path: Path) -> None:
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        raise UsageError(f"{flag} must have a name of at most {MAX_NAME_BYTES} bytes, not {path.name[:20]}...")


def _check_writable(flag: str, folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the folder of {flag} must be one you may write to, and {folder} is not; name another")


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """An empty file beside ``path`` to write to, which takes its place at the end; after an error nothing is left.

    Raises OutputError where the system refuses, for want of space say. What killed writers left beside it is removed.
    """
    with _aside(path.absolute().parent, path, _create_file) as aside:
        yield aside
        os.replace(aside, path)


@contextmanager
def folder_aside(folder: Path, what: Path) -> Iterator[Path]:
    """An empty folder inside ``folder`` for what is on its way to ``what``; it is gone at the end. As `write_aside`."""
    with _aside(folder.absolute(), what, _create_folder) as aside:
        yield aside


def put_in_place(aside: Path, folder: Path, names: Sequence[str]) -> None:
    """Move the files of these names from ``aside`` to ``folder``, in this order: all of them or, on OSError, none.

    ``aside``: a folder of `folder_aside`; copies of the files that are replaced lie there until it goes.
    """
    former = Path(tempfile.mkdtemp(dir=aside))
    for name in names:
        if (folder / name).exists():
            shutil.copyfile(folder / name, former / name)
    placed: list[str] = []
    try:
        for name in names:
            os.replace(aside / name, folder / name)
            placed.append(name)
    except OSError:
        _put_back(placed, folder, former)
        raise


def _put_back(names: Iterable[str], folder: Path, former: Path) -> None:
    for name in names:
        if (former / name).exists():
            os.replace(former / name, folder / name)
        else:
            (folder / name).unlink()


@contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Makes the folder where it is missing; after an error one that was made here, and holds nothing, is gone again.

    Raises OutputError where the system refuses.
    """
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


@contextmanager
def _aside(folder: Path, what: Path, create: Callable[[Path], int]) -> Iterator[Path]:
    try:
        remove_leftovers(folder)
        aside, lock = _claim(folder, create)
        try:
            yield aside
        finally:
            _remove(aside)
            os.close(lock)
    except OSError as error:
        raise _refused(what, error) from error


def _refused(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path} must be written, and that failed: {reason}; what was there is left alone")


def _claim(folder: Path, create: Callable[[Path], int]) -> tuple[Path, int]:
    """A new name and a descriptor that locks it; another writer may have removed it before it was locked."""
    while True:
        path = folder / f".edgemtl-{secrets.token_hex(8)}.part"
        descriptor = create(path)
        with suppress(OSError):  # a file system without locks, where nobody can lock, or remove, another's file
            if not _lock(descriptor) or _identity(path) is None:
                os.close(descriptor)
                continue
        return path, descriptor


def _create_file(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)


def _create_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now: nobody who lives holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files and folders of writers that were killed; those of writers that live are locked."""
    for path in [path for path in folder.iterdir() if _ASIDE.fullmatch(path.name)]:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _lock(descriptor):
                    _remove(path)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
