"""What is refused before any work is spent and before the compiler is imported: names, files and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemtl.cli.files import check_bundle, check_file, check_images, check_model
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.hw.spec import BOARDS, is_board, read_spec
from edgemtl.processor import TARGETS, resolve
from edgemtl.suggest import one_of

if TYPE_CHECKING:
    from edgemtl.bundle import Trust

PARAMETERS = "a file of integer parameters, which `edgemtl quantize` writes"
PUBLIC_KEY = "a file of a public key, which `edgemtl bundle keygen` writes"
DEVICES = ("cpu", "sim")
"""What --device can be: this machine's processor, and a board in simulation on it."""
UNDRIVEN = ("rtl", *BOARDS)
"""Devices that a later version may drive."""

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Opening:
    """How a bundle is opened: the device that runs it, and the tasks that run, in order."""

    device: str
    tasks: tuple[str, ...]


def check_target(name: str, option: str = "--target") -> None:
    """Raise the typed error of a target or board that is not there or cannot be."""
    if is_board(name):
        if name not in BOARDS:
            check_file(option, Path(name), "a target, a board, or a board's TOML file")
        read_spec(name)
    elif name in ("cpu", *TARGETS):
        resolve(name)
    else:
        raise UsageError(one_of(option, ("cpu", *TARGETS, *BOARDS, "FILE.toml of a board"), name))


def check_request(
    model: Path, target: str = "cpu", calibration: Path | None = None, parameters: Path | None = None
) -> None:
    """Raise the typed error of the first thing named that is not there."""
    check_model(model)
    check_target(target)
    check_images("--calibration", calibration)
    check_file("--parameters", parameters, PARAMETERS)


def check_names(model: Path, tasks: Sequence[str], renames: Pairs = (), kinds: Pairs = ()) -> None:
    """Raise UsageError for a task or kind there is not, where the file says so without being read in full."""
    if not tasks and not renames and not kinds:
        return
    from edgemtl.frontend.names import new_names
    from edgemtl.frontend.peek import peek_tasks
    from edgemtl.vocabulary import KINDS

    for _, kind in kinds:
        if kind not in KINDS:
            raise UsageError(one_of("KIND of --kind TASK=KIND", KINDS, kind))
    outputs = peek_tasks(model)
    if outputs is None:
        return
    names = new_names(tuple(outputs.items()), dict(renames))
    check_tasks(tasks, names)
    for name, _ in kinds:
        if name not in names:
            raise UsageError(one_of("TASK of --kind TASK=KIND", names, name))


def check_tasks(asked: Sequence[str], known: Sequence[str]) -> None:
    """Raise UsageError for a --task that is not one of ``known``."""
    for name in asked:
        if name not in known:
            raise UsageError(one_of("--task", known, name))


def read_demands(option: str, keys: Sequence[Path] | None, min_version: int | None) -> Trust | None:
    """`bundle.read_trust` of the files given to ``option``; also raises UsageError for one that is not there."""
    for key in keys or ():
        check_file(option, key, PUBLIC_KEY)
    from edgemtl.bundle import read_trust

    return read_trust(keys, min_version)


def plan_opening(
    path: Path,
    device: str | None,
    tasks: Sequence[str] | None,
    keys: Sequence[Path] | None = None,
    min_version: int | None = None,
) -> Opening:
    """The device that runs the bundle at ``path``, by default the one it is for, and ``tasks``, by default all.

    Only the manifest is read, and with ``keys`` nothing of it before its signature is checked. The bundle is checked
    again, whole, when it is opened to run. Raises UsageError for names there are not, UnsupportedError for a device
    that cannot run the bundle, and what `bundle.read_trust` and `bundle.read_manifest` raise.
    """
    if device is not None and device not in (*DEVICES, *UNDRIVEN):
        raise UsageError(one_of("--device", DEVICES, device))
    check_bundle(path)
    from edgemtl.bundle import FpgaProgram, read_manifest

    manifest = read_manifest(path, read_demands("--keys", keys, min_version))
    known = tuple(task.name for task in manifest.tasks)
    check_tasks(tasks or (), known)
    board = manifest.program.board.name if isinstance(manifest.program, FpgaProgram) else None
    return Opening(_device(path, device, board), tuple(dict.fromkeys(tasks or known)))


def _device(path: Path, asked: str | None, board: str | None) -> str:
    usual = "cpu" if board is None else "sim"
    if asked in (None, usual):
        return usual
    if asked in UNDRIVEN:
        reason, hint = "there is no driver for it yet", f"leave out --device to run {path} on {usual}"
    else:
        what = "a CPU" if board is None else f"the board {board}"
        reason, hint = f"{path} is compiled for {what}", f"leave out --device, or give --device {usual}"
    raise UnsupportedError(f"--device {asked}", reason, hint)
