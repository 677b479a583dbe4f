"""Weights that change in memory while a session is open are found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import IntegrityError, UsageError
from edgemtl.runtime import Session, scrub
from tests.runtime import programs

TASK = next(iter(programs.WEIGHTS))
CHANGED = "must be in memory as it was when the bundle was opened, and has changed; close the session"


def memories(session: Session) -> dict[str, np.ndarray]:
    """What a session's kernels read, by the name that an error gives it."""
    return {"weights.bin": session._bundle.weights(), "prepared weights": session._device.prepared()}


def flips(session: Session, count: int) -> Iterator[str]:
    """Flip one bit after another, each for the time of one step of the loop; yield the name of what it lies in."""
    rng, held = np.random.default_rng(0), memories(session)
    for _ in range(count):
        name = str(rng.choice(list(held)))
        at, bit = rng.integers(held[name].size), np.uint8(1 << rng.integers(8))
        held[name][at] ^= bit
        yield name
        held[name][at] ^= bit


@pytest.mark.parametrize("every", [1, 3])
def test_a_thousand_flipped_bits_within_one_cycle(bundle: Path, every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "SLICE_BYTES", 48)
    image = programs.picture(0)
    with Session.open(bundle, threads=1, scrub_every=every) as session:
        slices = sum(-(-memory.size // 48) for memory in memories(session).values())
        assert session.scrub_cycle == every * slices
        for name in flips(session, 1000):
            with pytest.raises(IntegrityError, match=f"{name} {CHANGED}"):
                session.run(TASK, np.repeat(image, session.scrub_cycle, 0))
        for _ in range(session.scrub_cycle):
            np.testing.assert_array_equal(session.run(TASK, image), programs.expected(TASK, image))


def test_frames_of_a_batch_count(bundle: Path) -> None:
    with Session.open(bundle, scrub_every=1) as session:
        batch, out = programs.picture(0, 4), np.full((4, *programs.SHAPE[1:]), 7, np.float32)
        memories(session)["prepared weights"][0] ^= 1
        with pytest.raises(IntegrityError, match=f"prepared weights {CHANGED}"):
            session.run(TASK, batch, out=out)
        assert session.scrub_cycle == 2
        assert not (out[0] == 7).all(), "the first slice is of weights.bin, which is whole"
        assert (out[1:] == 7).all(), "nothing is written for the frame that found it"


def test_verify_on_demand(bundle: Path) -> None:
    with Session.open(bundle) as session:
        assert session.scrub_cycle is None
        session.verify()
        for name in flips(session, 40):
            with pytest.raises(IntegrityError, match=f"{name} {CHANGED}"):
                session.verify()
        session.verify()
    for use in (session.verify, lambda: session.scrub_cycle):
        with pytest.raises(UsageError, match="a Session must be open to be used, and this one was closed"):
            use()


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "1"])
def test_a_wrong_number_of_frames(bundle: Path, every: object) -> None:
    with pytest.raises(UsageError, match=r"scrub_every must be a whole number of frames from 1 on, not "):
        Session.open(bundle, scrub_every=every)  # type: ignore[arg-type]


@pytest.mark.parametrize("harm", ["cut", "overwritten", "removed"])
def test_a_copy_does_not_see_what_becomes_of_the_file(tmp_path: Path, harm: str) -> None:
    path, image = programs.write(tmp_path / "a.edgemtl"), programs.picture(1)
    with Session.open(path, copy=True, scrub_every=1) as session:
        match harm:
            case "cut":
                os.truncate(path, 100)
            case "overwritten":
                path.write_bytes(bytes(path.stat().st_size))
            case _:
                path.unlink()
        session.verify()
        for task in session.tasks:
            np.testing.assert_array_equal(session.run(task, image), programs.expected(task, image))
        assert all(result.passed for result in session.selftest())
