"""The one thread a session computes on.

TVM's thread pool belongs to the thread that calls it: a pool per calling thread would grow with a program's
threads, outlive the session and bind the caller to a core. So a session has a thread of its own: every call
goes there, one after the other.

Ending such a thread ends its pool, and that may take seconds: a pool's threads look for work thousands of times
before they sleep, do not look at the sign to end meanwhile, and give the processor to any busy process each time.
So the thread of a closed session, with its pool, waits for the next session of the process that wants the same; there
is never more than one that waits.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from edgemtl.errors import EdgemtlError, UsageError
from edgemtl.runtime.stop import Stop
from edgemtl.runtime.threads import configure_pool

P = ParamSpec("P")
R = TypeVar("R")

EXIT_SECONDS = 0.05
LOOK_SECONDS = 0.1
"""How long a caller waits at once: an interrupt that comes as it begins to wait is seen only when it wakes."""


@dataclass(frozen=True)
class Thread:
    """A thread with a pool: what was asked of it, its number in the system, and the way to it."""

    threads: int
    cpus: frozenset[int]
    number: int
    executor: ThreadPoolExecutor


_lock = threading.Lock()
_spare: Thread | None = None


class Worker:
    """Runs calls one at a time on its own thread, whose pool has at most ``threads`` threads."""

    def __init__(self, threads: int) -> None:
        """Raises EdgemtlError where the system has no thread to give."""
        self._process = os.getpid()
        self._thread: Thread | None = _take(threads)
        self._closed, self._submitting = False, threading.Lock()

    def call(self, stop: Stop, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of a call made on the worker's thread.

        Whatever ends the wait for it, an interrupt too, stops the call.
        Raises UsageError after ``close`` or in a forked process, StoppedError where the time of ``stop`` is over.
        """
        try:
            with self._submitting:
                future = self._open_thread().executor.submit(function, *args, **kwargs)
            while not wait([future], min(stop.seconds_left(), LOOK_SECONDS)).done:
                if not stop.seconds_left():
                    raise stop.late()
            return future.result()
        except BaseException:
            stop.set("the run was interrupted; run it again")
            raise

    def close(self) -> None:
        """Wait for the calls under way, then leave the thread to another session or end it; may be called twice."""
        if os.getpid() != self._process:
            return
        with self._submitting:
            self._closed = True
        thread = self._thread
        if thread is not None:
            thread.executor.submit(int).result()  # behind all calls
            self._thread = None
            _leave(thread)

    def _open_thread(self) -> Thread:
        if os.getpid() != self._process:
            raise UsageError(
                "a Session must be used in the process that opened it, not in a fork; open one in the fork"
            )
        if self._closed or self._thread is None:
            raise UsageError("a Session must be open to be used, and this one was closed; open it again")
        return self._thread


def _take(threads: int) -> Thread:
    """The spare thread if it has what is asked for, else a new one."""
    global _spare
    cpus = frozenset(os.sched_getaffinity(0))
    with _lock:
        spare = _spare
        if spare is not None and (spare.threads, spare.cpus) == (threads, cpus):
            _spare = None
            return spare
    executor = ThreadPoolExecutor(1, thread_name_prefix="edgemtl")
    try:
        number = executor.submit(threading.get_native_id).result()
    except RuntimeError as error:
        raise EdgemtlError(f"a Session must have a thread, and there is none: {error}; end other threads") from None
    executor.submit(configure_pool, threads).result()
    return Thread(threads, cpus, number, executor)


def _leave(thread: Thread) -> None:
    """Make an idle thread the spare one; the one before it ends."""
    global _spare
    with _lock:
        before, _spare = _spare, thread
    if before is not None:
        _end(before)


def _end(thread: Thread) -> None:
    """End a thread, and wait a little for its pool: Python is done with a thread before its pool is."""
    thread.executor.shutdown(wait=True)
    deadline = time.monotonic() + EXIT_SECONDS
    while Path(f"/proc/self/task/{thread.number}").exists() and time.monotonic() < deadline:
        time.sleep(0.0002)


def _forget_spare() -> None:
    """In a fork: its threads stayed behind."""
    global _spare, _lock
    _spare, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_spare)
