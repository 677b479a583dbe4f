"""TVM's runtime is found without TVM's package; libraries come from verified bytes and go when closed."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgemtl.errors import IntegrityError, UnsupportedError
from edgemtl.processor import resolve
from edgemtl.runtime import Session, library
from edgemtl.runtime.library import Library, find_runtime
from tests.runtime import programs

CODE = """
import sys
from pathlib import Path
from edgemtl.runtime import Session
import numpy as np
with Session.open(sys.argv[1]) as session:
    session.run("depth", np.zeros(session.input.shape, np.float32))
unwanted = {"torch", "tvm", "onnx", "onnx_ir", "onnxruntime"}
print(*sorted(unwanted.intersection(sys.modules)))
"""


def test_a_session_left_open_at_exit(bundle: Path) -> None:
    code = CODE.replace("with Session.open(sys.argv[1]) as session:", "session = Session.open(sys.argv[1])\nif True:")
    result = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_what_is_imported(bundle: Path) -> None:
    result = subprocess.run([sys.executable, "-c", CODE, str(bundle)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def _mapped_libraries() -> int:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum("/memfd:edgemtl" in line and " 00000000 " in line for line in lines)


def test_libraries_are_unloaded(bundle: Path) -> None:
    gc.collect()
    before = _mapped_libraries()
    first, second = Session.open(bundle), Session.open(bundle)
    assert _mapped_libraries() == before + 2
    first.close()
    assert _mapped_libraries() == before + 1
    del second
    gc.collect()
    assert _mapped_libraries() == before


def test_two_libraries_are_two(tmp_path: Path) -> None:
    """One after the other: the second must not be taken for the first."""
    tame, wild = (programs.library(resolve("cpu"), wild=wild) for wild in (False, True))
    assert tame != wild
    first, second = Library(tame), Library(wild)
    assert first._descriptor != second._descriptor
    for loaded, source in ((first, tame), (second, wild)):
        with open(f"/proc/self/fd/{loaded._descriptor}", "rb") as file:
            assert file.read() == source
        loaded.close()
        loaded.close()


def test_a_name_used_again_is_another_library(tmp_path: Path) -> None:
    """A session of a tame program, closed, then one of a wild program that may get the same descriptor."""
    for wild in (False, True, False, True):
        path = programs.write(tmp_path / "a.edgemtl", wild=wild)
        with Session.open(path, check_arena=True) as session:
            if not wild:
                session.run("depth", programs.picture(0))
                continue
            with pytest.raises(IntegrityError, match="wrote behind it"):
                session.run("depth", programs.picture(0))


def test_a_library_somebody_still_has(tmp_path: Path) -> None:
    """A function keeps its library loaded, as one in a traceback does: the next library is another one all the same."""
    tame, wild = (programs.library(resolve("cpu"), wild=wild) for wild in (False, True))
    before = _mapped_libraries()
    first = Library(tame)
    function, descriptor = first.function("run_depth"), first._descriptor
    first.close()
    second = Library(wild)
    assert second._descriptor == descriptor
    assert _mapped_libraries() == before + 2
    del function
    second.close()


def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    message = r"the program's library: it cannot be copied \(Too many open files\); close files or sessions, or raise"
    with pytest.raises(UnsupportedError, match=message):
        Library(b"")


def test_the_copy_is_sealed() -> None:
    loaded = Library(programs.library(resolve("cpu")))
    with pytest.raises(PermissionError), open(f"/proc/self/fd/{loaded._descriptor}", "wb") as file:
        file.write(b"x")
    loaded.close()


def test_bytes_that_are_no_library() -> None:
    with pytest.raises(UnsupportedError, match=r"the program's library: it cannot be loaded .*; compile the bundle"):
        Library(b"\x7fELF" + bytes(100))


def test_no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    library.load_runtime.cache_clear()
    monkeypatch.setattr(library, "find_runtime", lambda: "libtvm_runtime_that_is_not_there.so")
    try:
        message = (
            r"libtvm_runtime.so: it cannot be loaded \(.*; pip install edgemtl, whose wheel has it, or put it on LD"
        )
        with pytest.raises(UnsupportedError, match=message):
            library.load_runtime()
    finally:
        library.load_runtime.cache_clear()


def test_where_the_runtime_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(find_runtime()).is_file()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_runtime() == "libtvm_runtime.so"


def test_without_tvm_the_runtime_of_the_wheel_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtvm_runtime.so").write_bytes(b"")
    assert find_runtime() == str(tmp_path / "lib" / "libtvm_runtime.so")
