"""Stopping a call before its end: by a timeout, by `Session.cancel`, by an interrupt of the thread that waits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgemtl.bundle import Layer
from edgemtl.errors import StoppedError, UsageError


class Stop:
    """Whether a call must stop, and why. The thread that works asks; any other one may ask it to."""

    def __init__(self, timeout: float | None = None) -> None:
        """``timeout`` in seconds from now, or none. Raises UsageError where it is no number above 0."""
        if timeout is not None and not _is_time(timeout):
            raise UsageError(f"timeout must be a number of seconds above 0, or None, not {timeout!r}")
        self._timeout = timeout
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._reason: str | None = None
        self._writing = threading.Lock()

    def seconds_left(self) -> float:
        """How long to wait for the call; infinite without a timeout."""
        return max(self._deadline - time.monotonic(), 0)

    def set(self, reason: str) -> None:
        """Ask the call to stop for a reason, a whole message; afterwards it writes nothing that a caller sees."""
        self._reason = self._reason or reason
        with self._writing:
            pass

    def late(self) -> StoppedError:
        """The error of a call that has had its time."""
        what = f"the run must end within its timeout of {self._timeout:g} s"
        return StoppedError(f"{what}, and did not; give it more time or fewer frames")

    def check(self) -> None:
        """Raise StoppedError where the call must stop."""
        if self._reason is not None:
            raise StoppedError(self._reason)
        if time.monotonic() >= self._deadline:
            raise self.late()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, the call may write what a caller sees. Raises StoppedError where it must stop."""
        with self._writing:
            self.check()
            yield


def cut(layers: Sequence[Layer], work: int) -> tuple[int, ...]:
    """The ends of the parts a task runs in, each of at least ``work`` multiply-accumulates and bytes but the last."""
    ends, done = [], 0
    for layer in layers:
        done += layer.macs + layer.bytes
        if done >= work:
            ends.append(layer.step + 1)
            done = 0
    return tuple(ends) if ends and ends[-1] == len(layers) else (*ends, len(layers))


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
