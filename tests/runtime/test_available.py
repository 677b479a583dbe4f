"""Memory that is free: the system's, and what the limits of control groups leave of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemtl.errors import BudgetError
from edgemtl.runtime.available import available_bytes, check_memory

GIB = 1 << 30


def root(folder: Path, groups: str = "", **files: str) -> Path:
    """A system with 8 GiB available, its control groups, and their files by path (__ for /)."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemFree: 1 kB\nMemAvailable: {8 << 20} kB\n")
    (folder / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name.replace("__", "/").replace("_D_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_what_the_system_has_available(tmp_path: Path) -> None:
    assert available_bytes(root(tmp_path)) == 8 * GIB


def test_a_group_of_version_2(tmp_path: Path) -> None:
    """The limit of a group above counts; what only caches files can be had."""
    files = {
        "a__memory_D_max": f"{2 * GIB}\n",
        "a__memory_D_current": f"{GIB}\n",
        "a__memory_D_stat": f"anon 5\ninactive_file {GIB // 2}\n",
        "a__b__memory_D_max": "max\n",
        "a__b__memory_D_current": "5\n",
    }
    assert available_bytes(root(tmp_path, "0::/a/b\n", **files)) == GIB + GIB // 2


def test_a_group_of_version_1(tmp_path: Path) -> None:
    files = {
        "memory__x__memory_D_limit_in_bytes": f"{3 * GIB}\n",
        "memory__x__memory_D_usage_in_bytes": f"{GIB}\n",
        "memory__memory_D_limit_in_bytes": f"{1 << 62}\n",
        "memory__memory_D_usage_in_bytes": f"{GIB}\n",
    }
    assert available_bytes(root(tmp_path, "5:cpu,cpuacct:/y\n4:memory:/x\n", **files)) == 2 * GIB


def test_a_group_above_its_limit(tmp_path: Path) -> None:
    files = {"memory_D_max": "100\n", "memory_D_current": "200\n"}
    assert available_bytes(root(tmp_path, "0::/\n", **files)) == 0


def test_nothing_is_known(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
    check_memory(1 << 60, tmp_path)


def test_this_machine() -> None:
    found = available_bytes()
    assert found is not None
    assert 0 < found < 1 << 50


def test_refused(tmp_path: Path) -> None:
    check_memory(8 * GIB, root(tmp_path))
    message = (
        rf"the program needs {8 * GIB + 1} bytes, the budget is {8 * GIB} bytes, 1 bytes are missing; free memory, "
        "raise the limit of the control group, or compile with a smaller --memory-budget"
    )
    with pytest.raises(BudgetError, match=message):
        check_memory(8 * GIB + 1, tmp_path)
