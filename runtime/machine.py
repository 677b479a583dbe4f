"""Whether this machine can run what a program was compiled for, asked before any of its code runs."""

from __future__ import annotations

from pathlib import Path

from edgemtl.errors import UnsupportedError
from edgemtl.processor import CodeTarget, find_obstacle, this_processor


def check_this_machine(target: CodeTarget) -> None:
    """Raise UnsupportedError unless this machine can run ``target``'s code."""
    if obstacle := find_obstacle(target, this_processor()):
        hint = "compile it with --target cpu on this machine"
        raise UnsupportedError(f"target {target.name} ({target.mcpu})", obstacle, hint)


def peak_resident_bytes() -> int:
    """The most memory this process has had resident since it was started.

    From /proc, since getrusage also counts what the process that started this one held at the fork.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise UnsupportedError("/proc/self/status", "it does not say VmHWM", "run on Linux with /proc mounted")
