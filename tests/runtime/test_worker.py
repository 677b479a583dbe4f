"""The thread of a closed session serves the next one: ending it, with its pool, may take seconds on a busy machine."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import EdgemtlError, UsageError
from edgemtl.runtime import Session, worker
from edgemtl.runtime.stop import Stop
from edgemtl.runtime.worker import Worker
from tests.runtime.programs import expected, picture


def number(found: Worker) -> int:
    return found.call(Stop(), threading.get_native_id)


def closed(threads: int) -> int:
    """The number of a worker's thread, after it was closed."""
    opened = Worker(threads)
    found = number(opened)
    opened.close()
    return found


def test_one_thread_serves_session_after_session() -> None:
    assert len({closed(2) for _ in range(20)}) == 1


def test_no_pool_ends_where_sessions_follow_each_other(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed(2)
    ended: list[int] = []
    monkeypatch.setattr(worker, "_end", lambda thread: ended.append(thread.number))
    before = len(os.listdir("/proc/self/task"))
    for seed in range(20):
        with Session.open(bundle, threads=2) as session:
            np.testing.assert_array_equal(session.run("depth", picture(seed)), expected("depth", picture(seed)))
    assert not ended
    assert len(os.listdir("/proc/self/task")) <= before


def test_sessions_at_once_have_threads_of_their_own() -> None:
    first, second = Worker(2), Worker(2)
    assert number(first) != number(second)
    first.close()
    second.close()
    assert closed(2) == closed(2)


def test_another_size_is_another_thread() -> None:
    """And only the last one is kept."""
    two = closed(2)
    assert closed(1) != two
    assert worker._spare is not None
    assert worker._spare.threads == 1
    assert closed(2) != two


def test_other_cores_are_another_thread() -> None:
    before, cores = closed(1), os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    try:
        os.sched_setaffinity(0, {min(cores)})
        narrow = Worker(1)
        assert number(narrow) != before
        assert narrow.call(Stop(), os.sched_getaffinity, 0) == {min(cores)}
        narrow.close()
    finally:
        os.sched_setaffinity(0, cores)


def test_a_call_after_close_does_not_reach_the_next_session() -> None:
    first = Worker(2)
    first.close()
    first.close()
    second = Worker(2)
    with pytest.raises(UsageError, match="a Session must be open to be used, and this one was closed; open it again"):
        first.call(Stop(), int)
    second.close()


def test_calls_and_closes_at_once() -> None:
    """Every call ends, or is refused; none runs on a thread that another worker has by now."""
    for _ in range(30):
        opened = Worker(2)
        expected_number = number(opened)

        def attempt(_: int, opened: Worker = opened) -> int | None:
            try:
                return number(opened)
            except UsageError:
                return None

        with ThreadPoolExecutor(4) as pool:
            found = pool.map(attempt, range(8))
            opened.close()
            assert {*found} <= {expected_number, None}


def test_a_fork_has_no_spare_thread() -> None:
    closed(2)
    child = os.fork()
    if child == 0:
        os._exit(0 if worker._spare is None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_no_thread_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_spare", None)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    message = r"a Session must have a thread, and there is none: can't start new thread; end other threads"
    with pytest.raises(EdgemtlError, match=message):
        Worker(2)
