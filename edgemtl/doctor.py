"""What this machine has of what the tool needs, found without importing the heavy packages."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass

from edgemtl.emulation import EMULATORS, NATIVE, RUNTIME_LIBRARIES
from edgemtl.errors import UnsupportedError
from edgemtl.extras import BASE, EXTRAS, install_hint
from edgemtl.runtime.library import RUNTIME, find_runtime, load_runtime

PROGRAMS = (
    ("g++", "compile for this machine", False, "apt-get install g++"),
    ("aarch64-linux-gnu-g++", "compile --target cpu-a53 and for boards", True, "apt-get install g++-aarch64-linux-gnu"),
    ("qemu-aarch64", "testing aarch64 bundles here", True, "apt-get install qemu-user"),
)


@dataclass(frozen=True)
class Finding:
    """One thing looked for; ``detail`` is its version or place, or what to do where it is missing."""

    what: str
    found: bool
    detail: str
    needed_for: str
    optional: bool


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages(names: dict[str, str], purpose: str, hint: str, optional: bool) -> tuple[Finding, ...]:
    versions = {name: _version(name) for name in names}
    return tuple(Finding(name, found is not None, found or hint, purpose, optional) for name, found in versions.items())


def _runtime() -> Finding:
    """TVM's runtime library, loaded: that it is there does not say that it fits."""
    try:
        load_runtime()
    except UnsupportedError as error:
        return Finding(RUNTIME, False, error.hint, "run", False)
    except ImportError:
        return Finding(RUNTIME, False, "pip install edgemtl", "run", False)
    return Finding(RUNTIME, True, find_runtime(), "run", False)


def _program(name: str, purpose: str, optional: bool, hint: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or hint, purpose, optional)


def _aarch64_runtime() -> Finding:
    folder = EMULATORS["aarch64"].libraries
    found = all((folder / name).is_file() for name in RUNTIME_LIBRARIES)
    detail = str(folder if found else NATIVE / "fetch_aarch64.sh")
    return Finding("TVM's aarch64 runtime", found, detail, "testing aarch64 bundles here", True)


def examine() -> tuple[Finding, ...]:
    """Look for every package and program.

    The packages of an extra are optional where its first one is not there: such a machine is not meant to have it.
    """
    base = _packages(BASE, "run", "pip install edgemtl", False)
    absent = {extra: _version(next(iter(names))) is None for extra, names in EXTRAS.items()}
    extras = [f for e, names in EXTRAS.items() for f in _packages(names, e, install_hint(e), absent[e])]
    programs = [_program(name, use, easy or absent["compile"], hint) for name, use, easy, hint in PROGRAMS]
    return (*base, _runtime(), *extras, *programs, _aarch64_runtime())
