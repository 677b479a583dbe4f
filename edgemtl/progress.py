"""How far long work has come: loops count, and whoever shows progress listens. Without a listener nothing happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Count:
    """``done`` of ``total`` units of work, such as images, and the seconds they took."""

    what: str
    done: int
    total: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        """If what is left goes on as what was done."""
        return self.seconds / self.done * (self.total - self.done) if self.done else float("inf")

    def __str__(self) -> str:
        left = "" if self.done >= self.total else f", about {_spell(self.seconds_left)} left"
        return f"{self.done} of {self.total} {self.what}{left}"


Listener = Callable[[Count], None]


@dataclass
class _Counter:
    what: str
    total: int
    listener: Listener
    done: int = 0
    start: float = field(default_factory=lambda: time.perf_counter())

    def tick(self) -> None:
        self.done += 1
        self.listener(Count(self.what, self.done, self.total, time.perf_counter() - self.start))


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
_COUNTER: ContextVar[_Counter | None] = ContextVar("counter", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While it lasts ``listener`` is told of every unit of work that was counted."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def counting(what: str, total: int) -> Iterator[None]:
    """While it lasts each `tick` is one of ``total`` units of work; ``what`` names them, such as "images"."""
    listener = _LISTENER.get()
    token = _COUNTER.set(None if listener is None else _Counter(what, total, listener))
    try:
        yield
    finally:
        _COUNTER.reset(token)


def counted(what: str, items: Sequence[T]) -> Iterator[T]:
    """The items; each is one unit of the work called ``what``, done when the next one is asked for."""
    listener = _LISTENER.get()
    counter = None if listener is None else _Counter(what, len(items), listener)
    for item in items:
        yield item
        if counter is not None:
            counter.tick()


def tick() -> None:
    """One unit of the work that is being counted is done."""
    if (counter := _COUNTER.get()) is not None:
        counter.tick()


def _spell(seconds: float) -> str:
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02} s"
