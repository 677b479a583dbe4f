"""Counts of long work: who listens is told, and nothing is where nobody does."""

from __future__ import annotations

import pytest

from edgemtl.cli import console
from edgemtl.progress import Count, counted, counting, listening, tick


def test_ticks_are_counted_while_somebody_listens() -> None:
    counts: list[Count] = []
    with listening(counts.append):
        with counting("images", 3):
            tick()
            tick()
            with counting("layers", 1):
                tick()
            tick()
        tick()
    assert [(count.what, count.done, count.total) for count in counts] == [
        *(("images", 1, 3), ("images", 2, 3), ("layers", 1, 1), ("images", 3, 3)),
    ]
    with counting("images", 1):
        tick()
    assert len(counts) == 4


def test_items_are_counted_when_the_next_is_asked_for() -> None:
    counts: list[Count] = []
    with listening(counts.append):
        assert list(counted("rounds", range(3))) == [0, 1, 2]
    assert [count.done for count in counts] == [1, 2, 3]
    assert list(counted("rounds", [5])) == [5]
    assert len(counts) == 3


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (Count("images", 1, 5, 2.0), "1 of 5 images, about 8 s left"),
        (Count("images", 10, 70, 30.0), "10 of 70 images, about 3 min 00 s left"),
        (Count("images", 4, 5, 0.1), "4 of 5 images, about 1 s left"),
        (Count("images", 5, 5, 2.0), "5 of 5 images"),
    ],
)
def test_time_left(count: Count, text: str) -> None:
    assert str(count) == text


def test_lines_become_sparse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "perf_counter", lambda: now)
    monkeypatch.setattr(console, "VERBOSITY", console.Verbosity())
    with console.step("calibrating"), counting("images", 101):
        for _ in range(100):
            now += 0.5
            tick()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["2", "6", "14", "30", "62"]
    assert lines[0] == "calibrating: 2 of 101 images, about 50 s left"
    assert lines[-1] == "calibrating (50.0 s)"


def test_nothing_is_said_when_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "VERBOSITY", console.Verbosity(level=0))
    with console.step("calibrating"), counting("images", 1):
        tick()
    assert capsys.readouterr().err == ""
