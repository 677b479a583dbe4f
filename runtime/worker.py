"""The one thread a session computes on.

TVM's thread pool belongs to the thread that calls it: a pool per calling thread would grow with a program's
threads, outlive the session and bind the caller to a core. So a session has a thread of its own: every call
goes there, one after the other, and its pool is made and ends with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from edgemtl.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


class Worker:
    """Runs calls one at a time on its own thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="edgemtl")
        self._process = os.getpid()

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
        """Wait for the calls under way and end the thread; may be called twice."""
        if os.getpid() == self._process:
            self._executor.shutdown(wait=True)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise UsageError(
                "a Session must be used in the process that opened it, not in a fork; open one in the fork"
            )
