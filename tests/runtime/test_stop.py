"""A run ends early where its time is over, it is cancelled, or its caller is interrupted; its writing ends too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemtl.bundle import Layer
from edgemtl.errors import StoppedError, UsageError
from edgemtl.runtime import Session
from edgemtl.runtime.stop import Stop, cut
from tests.runtime.programs import WEIGHTS, expected, picture

UNTOUCHED = np.float32(-77)
TASKS = tuple(WEIGHTS)


class Gate:
    """Holds a session's device at its n-th call, until it is let go; ``calls`` counts calls begun."""

    def __init__(self, session: Session, at: int) -> None:
        self.calls, self._at, self._run = 0, at, session._device.run
        self.reached, self.let_go = threading.Event(), threading.Event()
        session._device.run = self._gated

    def _gated(self, *call: Any) -> None:
        self.calls += 1
        if self.calls == self._at:
            self.reached.set()
            self.let_go.wait()
        self._run(*call)


def stopped_in_its_third_frame(session: Session, stop: Callable[[], None], **options: Any) -> tuple[Gate, np.ndarray]:
    """Run 50 frames and call ``stop`` in the third: the run raises, and only the first two are written, for good."""
    gate, images = Gate(session, 3), picture(0, frames=50)
    out = np.full_like(images, UNTOUCHED)

    def interfere() -> None:
        gate.reached.wait()
        stop()

    helper = threading.Thread(target=interfere)
    helper.start()
    try:
        with pytest.raises((StoppedError, KeyboardInterrupt)) as caught:
            session.run("depth", images, out=out, **options)
    finally:
        gate.let_go.set()
        helper.join()
    np.testing.assert_array_equal(session.run("semseg", picture(1)), expected("semseg", picture(1)))
    np.testing.assert_array_equal(out[:2], expected("depth", images[:2]))
    assert (out[2:] == UNTOUCHED).all()
    assert gate.calls == 4, "two frames, the one under way, and the call that came after"
    raise caught.value


def test_timeout(session: Session) -> None:
    session.run("depth", picture(0))
    message = r"the run must end within its timeout of 2 s, and did not; give it more time or fewer frames"
    with pytest.raises(StoppedError, match=message):
        stopped_in_its_third_frame(session, lambda: None, timeout=2)


def interrupt() -> None:
    """What Ctrl-C does to the thread that waits for a run."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_interrupt(session: Session) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped_in_its_third_frame(session, interrupt)


def test_cancel(bundle: Path) -> None:
    """The step under way ends first: another thread lets it go."""
    with Session.open(bundle) as session:

        def cancel() -> None:
            session.cancel()
            session_gate.let_go.set()

        images, out = picture(0, frames=50), np.full((50, 3, 16, 32), UNTOUCHED)
        session_gate = Gate(session, 3)
        helper = threading.Thread(target=lambda: (session_gate.reached.wait(), cancel()))
        helper.start()
        with pytest.raises(StoppedError, match=r"the run was cancelled by Session.cancel; run it again"):
            session.run("depth", images, out=out)
        helper.join()
        np.testing.assert_array_equal(out[:2], expected("depth", images[:2]))
        assert (out[2:] == UNTOUCHED).all()
        np.testing.assert_array_equal(session.run("semseg", picture(1)), expected("semseg", picture(1)))


def test_cancel_reaches_calls_that_wait(session: Session) -> None:
    gate = Gate(session, 1)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(session.run, "depth", picture(0)) for _ in range(2)]
        calls.append(pool.submit(session.profile, "depth", picture(0)))
        gate.reached.wait()
        while len(session._stops) < 3:
            threading.Event().wait(0.001)
        session.cancel()
        gate.let_go.set()
        for call in calls:
            with pytest.raises(StoppedError, match="cancelled"):
                call.result()
    assert not session._stops
    np.testing.assert_array_equal(session.run("depth", picture(0)), expected("depth", picture(0)))


def test_cancel_without_a_call(session: Session) -> None:
    """It does nothing to calls that come later, nor to a closed session."""
    session.cancel()
    np.testing.assert_array_equal(session.run("depth", picture(0)), expected("depth", picture(0)))
    session.close()
    session.cancel()


def test_a_timeout_counts_the_wait_for_other_calls(session: Session) -> None:
    gate, out = Gate(session, 1), np.full((1, 3, 16, 32), UNTOUCHED)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(session.run, "depth", picture(0))
        gate.reached.wait()
        with pytest.raises(StoppedError, match=r"its timeout of 0.05 s"):
            session.run("semseg", picture(0), out=out, timeout=0.05)
        gate.let_go.set()
        np.testing.assert_array_equal(first.result(), expected("depth", picture(0)))
    session.run("depth", picture(0))
    assert (out == UNTOUCHED).all()


def test_a_run_within_its_timeout(session: Session) -> None:
    found = session.run(TASKS, picture(3), timeout=60)
    for task in TASKS:
        np.testing.assert_array_equal(found[task], expected(task, picture(3)))


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1", True])
def test_timeouts_refused(session: Session, timeout: object) -> None:
    with pytest.raises(UsageError, match="timeout must be a number of seconds above 0, or None, not "):
        session.run("depth", picture(0), timeout=timeout)


def test_nothing_is_written_after_a_stop() -> None:
    stop = Stop()
    with stop.writing():
        pass
    stop.set("the first reason")
    stop.set("a later one")
    with pytest.raises(StoppedError, match="the first reason"), stop.writing():
        raise AssertionError("this must not be reached")


def test_a_stop_waits_for_the_write_under_way() -> None:
    stop, inside, leave, order = Stop(), threading.Event(), threading.Event(), []

    def write() -> None:
        with stop.writing():
            inside.set()
            leave.wait()
            order.append("written")

    writer = threading.Thread(target=write)
    writer.start()
    inside.wait()
    stopper = threading.Thread(target=lambda: (stop.set("x"), order.append("stopped")))
    stopper.start()
    leave.set()
    writer.join()
    stopper.join()
    assert order == ["written", "stopped"]


def _layers(*work: tuple[int, int]) -> list[Layer]:
    return [Layer(i, "kernel", (), macs, size) for i, (macs, size) in enumerate(work)]


@pytest.mark.parametrize(
    ("work", "ends"),
    [
        ([(10, 0)] * 5, (5,)),
        ([(100, 0)] * 3, (1, 2, 3)),
        ([(40, 20), (0, 40), (10, 10)], (2, 3)),
        ([(10, 10), (200, 0), (10, 0), (0, 95)], (2, 4)),
    ],
)
def test_parts_of_a_run(work: list[tuple[int, int]], ends: tuple[int, ...]) -> None:
    assert cut(_layers(*work), 100) == ends
    assert cut(_layers(*work), 0) == tuple(range(1, len(work) + 1))


def test_a_run_in_parts_gives_the_same(session: Session) -> None:
    calls, run = [], session._device.run
    session._device.run = lambda *call: (calls.append(call), run(*call))[1]
    session._ends = {task: (1, 3, 4) for task in TASKS}
    found = session.run(["depth", "semseg"], picture(2))
    assert calls == [("depth", 0, 1), ("depth", 1, 3), ("depth", 3, 4), ("semseg", 2, 3), ("semseg", 3, 4)]
    for task, output in found.items():
        np.testing.assert_array_equal(output, expected(task, picture(2)))


def test_it_stops_between_the_parts_of_a_frame(session: Session) -> None:
    session._ends = {task: (1, 3, 4) for task in TASKS}
    calls, run = [], session._device.run

    def cancelling(*call: Any) -> None:
        calls.append(call)
        session.cancel()
        run(*call)

    session._device.run = cancelling
    with pytest.raises(StoppedError, match="cancelled"):
        session.run("depth", picture(2))
    assert calls == [("depth", 0, 1)]
