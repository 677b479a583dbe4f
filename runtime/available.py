"""How much memory a program may still take: what the system has free, and what the control groups leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgemtl.errors import BudgetError

ROOT = Path("/")
# A control group of version 2 has its files in one tree, version 1 in one for memory: limit, use, and the line of
# memory.stat with what the system drops from its file cache when memory is short.
_VERSION_2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def check_memory(required: int, root: Path = ROOT) -> None:
    """Raise BudgetError where a program needs more bytes than are available."""
    available = available_bytes(root)
    if available is not None and required > available:
        hint = "free memory, raise the limit of the control group, or compile with a smaller --memory-budget"
        raise BudgetError("the program", required, available, hint)


def available_bytes(root: Path = ROOT) -> int | None:
    """The least of MemAvailable and what each control group of this process leaves; None where neither is told."""
    bounds = [*_system_bytes(root), *_group_bytes(root)]
    return min(bounds) if bounds else None


def _system_bytes(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _group_bytes(root: Path) -> Iterator[int]:
    """For the process's group and each group above it that has a limit, what the limit leaves."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, name = line.split(":", 2)
        if number == "0":
            tree, *files = _VERSION_2
        elif "memory" in controllers.split(","):
            tree, *files = _VERSION_1
        else:
            continue
        path = PurePosixPath(name)
        for group in (path, *path.parents):
            yield from _left(root / tree / str(group).lstrip("/"), *files)


def _left(folder: Path, limit: str, use: str, cache: str) -> Iterator[int]:
    most, taken = _read(folder / limit).strip(), _read(folder / use).strip()
    if most.isdigit() and taken.isdigit():
        numbers = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
        yield max(int(most) - int(taken) + int(numbers.get(cache, 0)), 0)


def _read(path: Path) -> str:
    """A file's text; nothing where there is no such file for this process."""
    try:
        return path.read_text()
    except OSError:
        return ""
