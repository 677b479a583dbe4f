"""TVM's runtime and a program's library, loaded without TVM's Python package."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgemtl.errors import UnsupportedError
from edgemtl.processor import FREE_FILES

RUNTIME = "libtvm_runtime.so"
# So often a waiting TVM worker yields before it sleeps: half a millisecond, longer than any pause in a run.
# TVM's own 300000 keep a core busy for a tenth of a second after each run, and after a session is closed.
_SPIN = ("TVM_THREAD_POOL_SPIN_COUNT", "2000")
_numbers = itertools.count()
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@functools.cache
def load_ffi() -> ModuleType:
    """The module tvm_ffi, kept from importing torch: where that is installed it costs a second."""
    with _hidden("torch"):
        import tvm_ffi
    return tvm_ffi


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Inside, a module that has not been imported yet cannot be."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # how Python marks a module that must not be found
    try:
        yield
    finally:
        del sys.modules[module]


@functools.cache
def load_runtime() -> ctypes.CDLL:
    """TVM's runtime library. Raises UnsupportedError where it is not installed or cannot be loaded."""
    load_ffi()
    os.environ.setdefault(*_SPIN)  # read once, by the first worker of the process
    try:
        return ctypes.CDLL(find_runtime(), ctypes.RTLD_GLOBAL)
    except OSError as error:
        reason = f"it cannot be loaded ({error})"
        hint = "pip install edgemtl, whose wheel has it, or put it on LD_LIBRARY_PATH"
        raise UnsupportedError(RUNTIME, reason, hint) from None


def find_runtime() -> str:
    """Where TVM's runtime is: in TVM's package, found without importing it, else beside this file, else the loader's.

    TVM's package comes first: a process that also compiles must not have the library twice.
    """
    package = importlib.util.find_spec("tvm")
    folders = [*((package.submodule_search_locations or []) if package else []), str(Path(__file__).parent)]
    paths = (Path(folder, "lib", RUNTIME) for folder in folders)
    return next((str(path) for path in paths if path.is_file()), RUNTIME)


class Library:
    """A program's library, loaded from a private, sealed copy of verified bytes."""

    def __init__(self, data: bytes) -> None:
        """Load ``data``. Raises UnsupportedError where this system's loader refuses it."""
        self._module: Any = None
        self._descriptor = -1
        ffi = load_ffi()
        load_runtime()
        self._descriptor = _sealed_file(data)
        path = _unique_path(self._descriptor)
        try:
            self._module = ffi.get_global_func("ffi.Module.load_from_file.so")(path, "so")
        except Exception as error:
            self.close()
            reason = f"it cannot be loaded ({error})".replace(path, "the library")
            raise UnsupportedError("the program's library", reason, "compile the bundle on this machine") from None

    def function(self, name: str) -> Callable[..., Any]:
        """An exported function. Raises UnsupportedError where the library has none of this name."""
        try:
            entry: Callable[..., Any] = self._module[name]
        except AttributeError:
            reason = f"it has no function {name!r}"
            raise UnsupportedError("the program's library", reason, "compile the bundle again") from None
        return entry

    def close(self) -> None:
        """Unload the library, whose functions must be gone; may be called twice."""
        self._module = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = close


def _sealed_file(data: bytes) -> int:
    try:
        descriptor = os.memfd_create("edgemtl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
    except OSError as error:
        reason = f"it cannot be copied ({error.strerror})"
        raise UnsupportedError("the program's library", reason, FREE_FILES) from None
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def _unique_path(descriptor: int) -> str:
    """A path to an open file that is spelled as none before.

    The loader takes two libraries of one name for one, and a function somebody still has, if only in a traceback, keeps
    its library loaded after its descriptor has been closed and given to another.
    """
    number = next(_numbers)
    spelling = "".join("/./" if number >> bit & 1 else "/" for bit in range(64))
    return f"/proc/self{spelling}fd/{descriptor}"
