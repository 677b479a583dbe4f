"""Imports of TVM without torch, which it loads where it is installed, for conversions that nothing here uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_torch() -> Iterator[None]:
    """While it lasts torch counts as not installed, unless it is loaded already: a second and 200 MB less."""
    # Where torch is loaded nevertheless, tvm_ffi would compile an extension for it, and warn where it cannot.
    os.environ.setdefault("TVM_FFI_DISABLE_TORCH_C_DLPACK", "1")
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def import_session() -> None:
    """Import what `edgemtl.runtime.Session` needs."""
    with without_torch():
        import tvm_ffi  # noqa: F401


def import_driver() -> None:
    """Import the compiler and all it needs."""
    with without_torch():
        import edgemtl.driver  # noqa: F401
