"""The one thread a session computes on.

TVM's thread pool belongs to the thread that calls it: a pool per calling thread would grow with a program's
threads, outlive the session and bind the caller to a core. So a session has a thread of its own: every call
goes there, one after the other, and its pool is made and ends with it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from edgemtl.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_SECONDS = 5.0


class Worker:
    """Runs calls one at a time on its own thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="edgemtl")
        self._process = os.getpid()
        self._thread = self._executor.submit(threading.get_native_id).result()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of a call made on the worker's thread.

        Raises UsageError after ``close`` or in a forked process.
        """
        self._check_process()
        try:
            future = self._executor.submit(function, *args, **kwargs)
        except RuntimeError:
            raise UsageError("a Session must be open to be used, and this one was closed; open it again") from None
        return future.result()

    def close(self) -> None:
        """Wait for the calls under way, end the thread and with it its pool; may be called twice."""
        if os.getpid() == self._process:
            self._executor.shutdown(wait=True)
            self._wait_for_pool()

    def _wait_for_pool(self) -> None:
        """Python is done with a thread before its pool is: without this, threads of sessions opened and closed in
        quick succession would pile up."""
        deadline = time.monotonic() + EXIT_SECONDS
        while Path(f"/proc/self/task/{self._thread}").exists() and time.monotonic() < deadline:
            time.sleep(0.0002)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise UsageError(
                "a Session must be used in the process that opened it, not in a fork; open one in the fork"
            )
