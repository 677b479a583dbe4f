"""Some inputs of every surface, and the judge itself: it must see each kind of fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import InputError
from tests.fuzz import judge as judging
from tests.fuzz.__main__ import NAMES
from tests.fuzz.judge import Outcome, Surface, judge
from tests.fuzz.report import count, write_table

INPUTS = 60
LARGE = 64 << 20


def test_every_surface_takes_or_refuses(tmp_path: Path) -> None:
    """In a process of its own, one thread and no time limit: that belongs to `make fuzz`, on a machine at rest."""
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS), "--json", str(tmp_path / "counts.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (tmp_path / "counts.json").exists(), done.stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert tuple(counts) == NAMES
    faults = {name: [f for f in of["faults"] if not f.startswith("more than 1 s")] for name, of in counts.items()}
    assert not any(faults.values()), faults
    for name, of in counts.items():
        assert of["inputs"] == INPUTS, name
        assert of["kinds"]["refused"], name
        assert of["kinds"].get("taken", 0) or name == "bundle_bytes", name


def act_badly(folder: Path) -> Callable[[int], str]:
    """Something that does each thing it must not, one a seed."""

    def act(seed: int) -> str:
        match seed:
            case 0:
                return "fine"
            case 1:
                raise InputError("a.png: must be a picture")
            case 2:
                raise KeyError("width")
            case 3:
                os.kill(os.getpid(), signal.SIGKILL)
            case 4:
                os._exit(7)
            case 5:
                np.ones(LARGE, np.uint8)
            case 6:
                end = time.process_time() + 0.3
                while time.process_time() < end:
                    pass
            case 7:
                time.sleep(1000)
        return "fine"

    return act


@pytest.fixture
def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    monkeypatch.setattr(judging, "HANG_SECONDS", 3.0)
    return [*judge(Surface("bad", act_badly), tmp_path, 0, 9, 1000.0)]


def test_the_judge_sees_every_kind_of_fault(outcomes: list[Outcome]) -> None:
    surface = Surface("bad", act_badly, seconds=0.2, mib=32)
    expected = [None, None, "untyped", "crash", "crash", "more than 32 MiB", "more than 0.2 s", "hang", None]
    assert [outcome.seed for outcome in outcomes] == list(range(9))
    assert [outcome.fault(surface) for outcome in outcomes] == expected
    texts = [outcome.text for outcome in outcomes]
    assert texts[:2] == ["fine", "InputError: a.png: must be a picture"]
    assert texts[2].startswith("KeyError: 'width' @ test_fuzz.py:")
    assert texts[3:5] == ["SIGKILL", "exit 7"]
    assert texts[7] == "no end within 3 s"


def test_the_page_counts_every_input_and_fault(outcomes: list[Outcome], tmp_path: Path) -> None:
    surface = Surface("bad", act_badly, seconds=0.2, mib=32)
    write_table(tmp_path / "page.md", {"bad": count(surface, outcomes)}, {"bad": surface})
    row = (tmp_path / "page.md").read_text().splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")][1:9] == ["bad", "9", "4", "1", "1", "3", "1", "1"]


def test_the_same_seed_is_the_same_input(tmp_path: Path) -> None:
    from tests.fuzz.surfaces.arrays import SURFACE

    kinds = [[(o.kind, o.text) for o in judge(SURFACE, tmp_path, first, 5, 60.0)] for first in (0, 3)]
    assert kinds[0][3:] == kinds[1][:2]


def test_time_ends_a_surface(tmp_path: Path) -> None:
    from tests.fuzz.surfaces.arrays import SURFACE

    assert not [*judge(SURFACE, tmp_path, 0, 5, 0.0)]
