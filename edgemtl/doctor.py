"""What this machine has of what the tool needs, found without importing the heavy packages."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass

from edgemtl.emulation import EMULATORS, NATIVE, RUNTIME_LIBRARIES

PACKAGES = (
    ("numpy", "runtime", False),
    ("pillow", "runtime", False),
    ("apache-tvm-ffi", "runtime", False),
    ("apache-tvm", "compile", False),
    ("onnx", "compile", False),
    ("onnx-ir", "compile", False),
    ("onnxscript", "compile", False),
    ("onnxruntime", "compile", False),
    ("ortools", "compile", False),
    ("torch", "export", True),
    ("safetensors", "export", True),
    ("pyyaml", "export", True),
    ("plotly", "report", True),
    ("jinja2", "report", True),
)
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


def _package(name: str, purpose: str, optional: bool) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name), purpose, optional)
    except importlib.metadata.PackageNotFoundError:
        extra = "" if purpose == "runtime" else f"[{purpose}]"
        return Finding(name, False, f"pip install 'edgemtl{extra}'", purpose, optional)


def _program(name: str, purpose: str, optional: bool, hint: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or hint, purpose, optional)


def _aarch64_runtime() -> Finding:
    folder = EMULATORS["aarch64"].libraries
    found = all((folder / name).is_file() for name in RUNTIME_LIBRARIES)
    detail = str(folder if found else NATIVE / "fetch_aarch64.sh")
    return Finding("TVM's aarch64 runtime", found, detail, "testing aarch64 bundles here", True)


def examine() -> tuple[Finding, ...]:
    """Look for every package and program; nothing is imported or run."""
    return tuple(_package(*p) for p in PACKAGES) + tuple(_program(*p) for p in PROGRAMS) + (_aarch64_runtime(),)
