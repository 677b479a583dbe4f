"""Which targets this machine runs, asked of the runtime's own check, and what it takes to test a narrower processor.

Tests run code only for those targets; parameters for others are skipped with the reason, and the end of the run counts
them. ``--cpu NAME`` puts tests/support/cpu/NAME.cpuinfo in the place of /proc/cpuinfo, here and in the processes that
tests start.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from edgemtl import processor
from edgemtl.processor import TARGETS, CodeTarget, CpuTarget, find_obstacle, this_processor

FOLDER = Path(__file__).parent / "cpu"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.cpuinfo")))
VARIABLE = "EDGEMTL_TESTS_CPU_INFO"
"""Read by cpu/site/sitecustomize.py alone, which Python imports as a process starts."""
_REASON = "no target of this machine: "


def runnable(targets: Iterable[CpuTarget]) -> list[CpuTarget]:
    """Those of the targets whose code this machine runs."""
    here = this_processor()
    return [target for target in targets if not find_obstacle(target, here)]


def on_each(targets: Iterable[CpuTarget]) -> pytest.MarkDecorator:
    """Run a test for each ``target``; those this machine does not run are skipped."""
    return pytest.mark.parametrize("target", [_parameter(target) for target in targets])


def _parameter(target: CpuTarget) -> object:
    obstacle = find_obstacle(target, this_processor())
    marks = [pytest.mark.skip(f"{_REASON}{target.name}: {obstacle}")] if obstacle else []
    return pytest.param(target, id=f"{target.name}-{target.threads}", marks=marks)


def demand(target: CodeTarget) -> None:
    """Fail where a test is about to run code that this machine, or the one it stands for, cannot."""
    obstacle = find_obstacle(target, this_processor())
    assert not obstacle, f"a test must not run code for {target.name} here: {obstacle}"


def stand_for(name: str) -> None:
    """Let this process, and those it starts, take the processor ``name`` for theirs.

    Raises pytest.UsageError where this machine cannot run what that processor does.
    """
    real = runnable(TARGETS.values())
    processor.CPU_INFO = FOLDER / f"{name}.cpuinfo"
    if beyond := [target.name for target in runnable(TARGETS.values()) if target not in real]:
        raise pytest.UsageError(
            f"--cpu must name a processor that this machine can stand for, not {name}: "
            f"it cannot run {', '.join(beyond)}"
        )
    os.environ[VARIABLE] = str(processor.CPU_INFO)
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(FOLDER / "site"), *filter(None, inherited)]))


def summary(reasons: Iterable[str]) -> list[str]:
    """What the end of a run says: the targets of this architecture that were run and skipped, and how many tests."""
    here = this_processor()
    counts = Counter(reason.partition(_REASON)[2].partition(":")[0] for reason in reasons if _REASON in reason)
    known = [t for t in TARGETS.values() if processor.architecture_of(t) == here.architecture]
    obstacles = {t.name: obstacle for t in known if (obstacle := find_obstacle(t, here))}
    lines = [f"{here.model or 'unknown processor'}: {len(obstacles)} of {len(known)} targets skipped"]
    return lines + [f"  {name}: {obstacle}; {counts[name]} tests skipped" for name, obstacle in obstacles.items()]
