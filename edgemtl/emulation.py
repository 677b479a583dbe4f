"""Programs for another processor on this machine: the runner without Python, cross-compiled, under qemu."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgemtl.runtime
from edgemtl.bundle import Bundle, Golden, extract_program
from edgemtl.errors import EdgemtlError, UnsupportedError
from edgemtl.operators import Array
from edgemtl.processor import ARCHITECTURES

NATIVE = Path(edgemtl.runtime.__file__).parent / "native"
RUNTIME_LIBRARIES = ("libtvm_runtime.so", "libtvm_ffi.so")


@dataclass(frozen=True)
class Emulator:
    """What runs an architecture's programs here: qemu, a C++ compiler, its system root, TVM's runtime libraries."""

    qemu: str
    compiler: str
    system: Path
    libraries: Path


def find_emulator(architecture: str) -> Emulator:
    """The emulator of an architecture. Raises UnsupportedError where there is none, or a part of it is missing."""
    known = ARCHITECTURES.get(architecture)
    if known is None or known.emulation is None:
        raise UnsupportedError("emulation", f"there is no emulator for {architecture}", "run the bundle on its device")
    qemu, libraries = known.emulation.qemu, runtime_libraries(architecture)
    for program in (qemu.command, known.linker.command, "make"):
        if shutil.which(program) is None:
            hint = f"{qemu.hint} {known.linker.package} make"
            raise UnsupportedError("emulation", f"{program} is not installed", hint)
    if not has_runtime(architecture):
        reason = f"TVM's runtime for {architecture} is not in {libraries}"
        raise UnsupportedError("emulation", reason, f"{fetching_script(architecture)} fetches it")
    return Emulator(qemu.command, known.linker.command, known.emulation.system, libraries)


def runtime_libraries(architecture: str) -> Path:
    """The folder of TVM's runtime libraries for an architecture that is emulated here."""
    return NATIVE / architecture


def has_runtime(architecture: str) -> bool:
    """Whether TVM's runtime libraries for an architecture are there."""
    return all((runtime_libraries(architecture) / name).is_file() for name in RUNTIME_LIBRARIES)


def fetching_script(architecture: str) -> Path:
    """What fetches TVM's runtime libraries for an architecture."""
    return NATIVE / f"fetch_{architecture}.sh"


@contextmanager
def native_runner(emulator: Emulator) -> Iterator[list[str]]:
    """The command that runs ``edgemtl_run`` under ``emulator``, built into a folder that goes at the end.

    Raises EdgemtlError where it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="edgemtl-") as folder:
        runner = Path(folder) / "edgemtl_run"
        settings = [f"PYTHON={sys.executable}", f"OUT={runner}"]
        settings += [f"CXX={emulator.compiler}", f"LIBS={emulator.libraries}"]
        done = subprocess.run(["make", "-C", str(NATIVE), *settings], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgemtlError(f"the native runner must compile with {emulator.compiler}: {_last_line(done.stderr)}")
        yield [emulator.qemu, "-L", str(emulator.system), str(runner)]


def emulate_goldens(bundle: Bundle, emulator: Emulator) -> Iterator[tuple[Golden, Array]]:
    """Every golden pair of a CPU bundle, with the output that its program gives under ``emulator``.

    Raises EdgemtlError where the runner does not compile or the program does not run to its end.
    """
    with tempfile.TemporaryDirectory(prefix="edgemtl-") as name, native_runner(emulator) as command:
        folder = Path(name)
        extract_program(bundle, folder)
        for task in bundle.manifest.tasks:
            for golden in bundle.goldens(task.name):
                words = [*command, name, _save(golden, folder), name, "1", task.name]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode:
                    reason = _last_line(done.stderr) or f"it ended with {done.returncode}"
                    raise EdgemtlError(f"task {task.name} must run under {emulator.qemu}: {reason}")
                yield golden, np.load(folder / f"{task.name}.npy")


def _save(golden: Golden, folder: Path) -> str:
    """The inputs of a golden pair as files, and how the runner is told of them."""
    words = []
    for index, (name, array) in enumerate(golden.inputs.items()):
        file = folder / f"input_{index}.npy"
        np.save(file, array)
        words.append(f"{name}={file}")
    return ",".join(words)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
