"""The devices a session can run on, each imported only when it is asked for."""

from __future__ import annotations

from typing import Protocol

from edgemtl.bundle import Bundle
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.runtime.images import FloatArray
from edgemtl.runtime.records import Memory

DEVICES = ("cpu", "sim", "rtl", "zcu104")


class Device(Protocol):
    """A program in its memory, driven from one thread.

    ``image`` float32 [1, C, H, W] is what a run reads, ``outputs[task]`` what it writes; both stay where they
    are.
    """

    image: FloatArray
    outputs: dict[str, FloatArray]

    def start(self) -> None:
        """Make what is made once: threads, prepared weights."""

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task."""

    def poison(self) -> None:
        """Fill the working memory with NaN."""

    def check_guards(self) -> None:
        """Raise IntegrityError where the program wrote outside its memory."""

    def memory(self) -> Memory:
        """Bytes held."""

    def close(self) -> None:
        """Let go of everything; may be called twice."""


def open_device(name: str, bundle: Bundle, threads: int) -> Device:
    """The device ``name`` with the bundle's program.

    Raises UsageError, or UnsupportedError where it has none for it.
    """
    if name not in DEVICES:
        raise UsageError(f"device must be one of {', '.join(DEVICES)}, not {name!r}")
    if name != bundle.manifest.program.device:
        reason = f"this bundle holds no program for it, only one for {bundle.manifest.program.device}"
        raise UnsupportedError(f"device {name}", reason, f"open it with device={bundle.manifest.program.device!r}")
    from edgemtl.runtime.devices.cpu import CpuDevice

    return CpuDevice(bundle, threads)
