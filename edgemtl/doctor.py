"""What this machine has of what the tool needs, found without importing the heavy packages."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass

from edgemtl.emulation import fetching_script, has_runtime, runtime_libraries
from edgemtl.errors import UnsupportedError
from edgemtl.extras import BASE, EXTRAS, install_hint
from edgemtl.processor import ARCHITECTURES, HOSTS, TARGETS, Architecture, Emulation, SystemTool, architecture_of
from edgemtl.runtime.library import RUNTIME, find_runtime, load_runtime


@dataclass(frozen=True)
class Finding:
    """One thing looked for; ``detail`` is its version or place, or what to do where it is missing."""

    what: str
    present: bool
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
    return tuple(
        Finding(name, version is not None, version or hint, purpose, optional) for name, version in versions.items()
    )


def _runtime() -> Finding:
    """TVM's runtime library, loaded: that it is there does not say that it fits."""
    try:
        load_runtime()
    except UnsupportedError as error:
        return Finding(RUNTIME, False, error.hint, "run", False)
    except ImportError:
        return Finding(RUNTIME, False, "pip install edgemtl", "run", False)
    return Finding(RUNTIME, True, find_runtime(), "run", False)


def _tool(tool: SystemTool, purpose: str, optional: bool) -> Finding:
    path = shutil.which(tool.command)
    return Finding(tool.command, path is not None, path or tool.hint, purpose, optional)


def _linker(architecture: Architecture, optional: bool) -> Finding:
    """The linker for a PC, which is what compiles, is needed by all; others by those who compile for them."""
    if architecture.name == architecture_of(TARGETS[HOSTS["x86"]]):
        return _tool(architecture.linker, "compile for this machine", optional)
    names = [name for name, target in TARGETS.items() if target.triple == architecture.triple]
    boards = " and for boards" if HOSTS["a53"] in names else ""
    return _tool(architecture.linker, f"compile --target {', '.join(names)}{boards}", True)


def _emulation(architecture: str, emulation: Emulation) -> tuple[Finding, Finding]:
    purpose, is_there = f"testing {architecture} bundles here", has_runtime(architecture)
    detail = str(runtime_libraries(architecture) if is_there else fetching_script(architecture))
    return _tool(emulation.qemu, purpose, True), Finding(
        f"TVM's {architecture} runtime", is_there, detail, purpose, True
    )


def examine() -> tuple[Finding, ...]:
    """Look for every package and program.

    The packages of an extra are optional where its first one is not there: such a machine is not meant to have it.
    """
    base = _packages(BASE, "run", "pip install edgemtl", False)
    absent = {extra: _version(next(iter(names))) is None for extra, names in EXTRAS.items()}
    extras = [f for e, names in EXTRAS.items() for f in _packages(names, e, install_hint(e), absent[e])]
    linkers = [_linker(architecture, absent["compile"]) for architecture in ARCHITECTURES.values()]
    emulated = [f for a in ARCHITECTURES.values() if a.emulation for f in _emulation(a.name, a.emulation)]
    return (*base, _runtime(), *extras, *linkers, *emulated)
