"""Many threads, many switches, many sessions: the same bits, and nothing left behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import UsageError
from edgemtl.runtime import Session
from edgemtl.runtime.threads import configure_pool
from tests.runtime.programs import WEIGHTS, expected, picture

TASKS = tuple(WEIGHTS)
SWITCHES = 20_000
LEAK_BYTES = 5 << 20


def _tasks_of_process() -> int:
    return len(os.listdir("/proc/self/task"))


def _settles_at(count: int) -> bool:
    """Whether the process comes down to so many threads: the system lets them go a little after they end."""
    deadline = time.monotonic() + 20
    while _tasks_of_process() > count and time.monotonic() < deadline:
        time.sleep(0.01)
    return _tasks_of_process() <= count


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_eight_threads(bundle: Path) -> None:
    """Every call gets the output of its own task and image, whichever thread asks, in whatever order."""
    images = [picture(seed) for seed in range(4)]
    wanted = {(task, i): expected(task, image) for task in TASKS for i, image in enumerate(images)}

    def switch(seed: int) -> int:
        random = np.random.default_rng(seed)
        out = np.empty_like(images[0])
        wrong = 0
        for task, i in zip(random.choice(TASKS, SWITCHES // 8), random.integers(0, 4, SWITCHES // 8), strict=True):
            wrong += not np.array_equal(session.run(str(task), images[i], out=out), wanted[str(task), int(i)])
        return wrong

    before = _tasks_of_process()
    with Session.open(bundle) as session, ThreadPoolExecutor(8) as pool:
        session.run("depth", images[0])
        opened = _tasks_of_process()
        assert sum(pool.map(switch, range(8))) == 0
        assert _tasks_of_process() <= opened + 8, "a thread that calls gets no pool of its own"
    assert _settles_at(before)


def test_two_sessions_at_once(bundle: Path) -> None:
    image = picture(1)

    def work(threads: int) -> bool:
        with Session.open(bundle, threads=threads) as session:
            return all(
                np.array_equal(session.run(task, image), expected(task, image)) for _ in range(200) for task in TASKS
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, (1, 2, 1, 2)))


def test_no_growth(bundle: Path) -> None:
    with Session.open(bundle) as session:
        for _ in range(500):
            session.run(TASKS, picture(0))
        gc.collect()
        before = _resident_bytes()
        for seed in range(4000):
            session.run(TASKS[seed % 3], picture(0))
        gc.collect()
        assert _resident_bytes() - before <= LEAK_BYTES


def test_no_growth_over_sessions(bundle: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for count in range(150):
        if count == 30:
            before = _resident_bytes()
        with Session.open(bundle) as session:
            session.run("depth", picture(0))
    assert _resident_bytes() - before <= LEAK_BYTES
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_close_waits_for_the_run_under_way(bundle: Path) -> None:
    session = Session.open(bundle)
    images, started = picture(0, frames=2000), threading.Event()
    run = session._device.run
    session._device.run = lambda *call: (started.set(), run(*call))[1]
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(session.run("depth", images)))
    thread.start()
    started.wait()
    session.close()
    thread.join()
    np.testing.assert_array_equal(found[0], expected("depth", images))
    with pytest.raises(UsageError, match="must be open"):
        session.run("depth", picture(0))


def test_many_close_at_once(bundle: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            session = Session.open(bundle)
            for done in [pool.submit(session.close) for _ in range(8)]:
                done.result()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_session_that_is_forgotten_ends_its_threads(bundle: Path) -> None:
    before = _tasks_of_process()
    session = Session.open(bundle)
    session.run("depth", picture(0))
    del session
    gc.collect()
    assert _settles_at(before)


@pytest.mark.parametrize("threads", [1, 2, 1000])
def test_pool_size(threads: int) -> None:
    """A pool has at most the threads asked for and the CPUs there are, and binds no one to a core."""
    with ThreadPoolExecutor(1) as pool:
        cpus = os.sched_getaffinity(0)
        assert pool.submit(configure_pool, threads).result() == min(threads, len(cpus))
        assert pool.submit(os.sched_getaffinity, 0).result() == cpus
    assert os.sched_getaffinity(0) == cpus


def test_callers_keep_their_cores(bundle: Path) -> None:
    before = os.sched_getaffinity(0)
    with Session.open(bundle) as session:
        session.run("depth", picture(0))
        assert os.sched_getaffinity(0) == before
