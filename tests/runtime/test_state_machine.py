"""Any sequence of opens, runs, switches, refused calls and closes: always the output that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from edgemtl.errors import InputError, UsageError
from edgemtl.runtime import Session
from tests.runtime.programs import WEIGHTS, expected, picture

TASKS = st.sampled_from(tuple(WEIGHTS))
SEEDS = st.integers(0, 5)


class Sessions(RuleBasedStateMachine):
    """Several sessions of one bundle in one process."""

    path: str = ""
    sessions: Bundle[Session] = Bundle("sessions")

    @initialize(target=sessions)
    def first(self) -> Session:
        return Session.open(self.path)

    @rule(target=sessions, threads=st.integers(1, 3), check=st.booleans())
    def open(self, threads: int, check: bool) -> Session:
        return Session.open(self.path, threads=threads, check_arena=check)

    @rule(session=sessions, task=TASKS, seed=SEEDS, frames=st.integers(1, 2))
    def run_one(self, session: Session, task: str, seed: int, frames: int) -> None:
        image = picture(seed, frames)
        np.testing.assert_array_equal(session.run(task, image), expected(task, image))

    @rule(session=sessions, tasks=st.lists(TASKS, min_size=1, unique=True), seed=SEEDS)
    def run_several(self, session: Session, tasks: list[str], seed: int) -> None:
        image = picture(seed)
        for task, output in session.run(tasks, image).items():
            np.testing.assert_array_equal(output, expected(task, image))

    @rule(session=sessions, task=TASKS)
    def switch(self, session: Session, task: str) -> None:
        session.switch(task)

    @rule(session=sessions, task=TASKS, seed=SEEDS)
    def profile(self, session: Session, task: str, seed: int) -> None:
        assert len(session.profile(task, picture(seed))) == 4

    @rule(session=sessions)
    def selftest(self, session: Session) -> None:
        assert all(result.passed for result in session.selftest())

    @rule(session=sessions, task=TASKS, seed=SEEDS)
    def refused_image(self, session: Session, task: str, seed: int) -> None:
        image = picture(seed)
        image[0, 0, 0, 0] = np.nan
        with pytest.raises(InputError):
            session.run(task, image)

    @rule(session=consumes(sessions))
    def close(self, session: Session) -> None:
        session.close()
        with pytest.raises(UsageError):
            session.run("depth", picture(0))


def test_sessions(bundle) -> None:
    machine = type("BundleSessions", (Sessions,), {"path": str(bundle)})
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
