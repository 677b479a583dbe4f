"""The router's memory: queues of the experts, and the list of entries that slots name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import Wide
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.hazards import Timeline, Watch

_ONLY = np.zeros(1, np.int64)
"""Queues and list are watched as a whole each."""


@dataclass(frozen=True)
class Entry:
    """An entry of the list: an expert, numbered among the candidates, and its queue, int64 [count] each.

    In token order also: the first of the ``lines`` lines of its cache entry, and whether its weights must be loaded.
    """

    expert: int
    tokens: Wide
    weights: Wide
    line: int | None = None
    lines: int = 0
    load: bool = False


class Router:
    """Queues of at most ``capacity`` (token, choice) pairs, and the list, which is None until a ROUTE writes one."""

    def __init__(self, capacity: int, timeline: Timeline | None) -> None:
        self._capacity = capacity
        self._choices: list[Wide] | None = None
        self._weights: list[Wide] = []
        self._list: tuple[Entry, ...] | None = None
        self._routes: list[npt.NDArray[np.int32]] = []
        self._queued = None if timeline is None else Watch("the router's queues", 1, timeline)
        self._listed = None if timeline is None else Watch("the router's list", 1, timeline)

    @property
    def routes(self) -> tuple[npt.NDArray[np.int32], ...]:
        """Choices int32 [tokens, k] of every list so far, the largest logit first."""
        return tuple(self._routes)

    @property
    def has_list(self) -> bool:
        """Whether a ROUTE has written a list yet."""
        return self._list is not None

    def append(self, begin: bool, token: int, choices: Wide, weights: Wide) -> None:
        """Queue tokens from ``token`` on with their choices and weights, int64 [rows, k] each."""
        if self._queued is not None:
            self._queued.write(_ONLY, apart=False)
        if begin:
            self._choices, self._weights = [], []
        if self._choices is None:
            raise Fault("begin must be 1 in the first ROUTE after a list was made, not 0")
        known = sum(map(len, self._choices))
        if token != known:
            raise Fault(f"token must be the number of tokens routed since begin, {known}, not {token}")
        if (pairs := (known + len(choices)) * choices.shape[1]) > self._capacity:
            raise Fault(f"tokens times k must be at most the engine's routing_entries, {self._capacity}, not {pairs}")
        self._choices.append(choices)
        self._weights.append(weights)

    def finish(self, experts: int, early: list[int], cache: int, lines: int) -> None:
        """Make the list of ``experts`` candidates in order of experts or, for a cache of some places, of tokens."""
        if self._listed is not None:
            self._listed.write(_ONLY, apart=False)
        assert self._choices is not None
        choices, weights = np.concatenate(self._choices), np.concatenate(self._weights)
        entries = by_token(choices, weights, cache, lines) if cache else by_expert(choices, weights, experts, early)
        self._list = tuple(entries)
        self._routes.append(choices.astype(np.int32))
        self._choices = None

    def entry(self, slot: int, queue: bool = True) -> Entry | None:
        """The entry of an operand ``slot``, which counts from 1; None where the list has none.

        ``queue``: its queue is read too. Raises Fault for what `Watch.read` says.
        """
        if self._listed is not None and self._queued is not None:
            self._listed.read(_ONLY)
            if queue:
                self._queued.read(_ONLY)
        return self.peek(slot)

    def peek(self, slot: int) -> Entry | None:
        """`entry`, unwatched: what a unit looks at to know whether it can go on."""
        assert self._list is not None, "words with a slot wait for a list"
        return self._list[slot - 1] if slot <= len(self._list) else None


def by_expert(choices: Wide, weights: Wide, experts: int, early: list[int]) -> Iterator[Entry]:
    """Entries of early experts as named, then of the others with tokens, ascending."""
    for expert in [*early, *(e for e in range(experts) if e not in early)]:
        tokens, choice = np.nonzero(choices == expert)
        if len(tokens) or expert in early:
            yield Entry(expert, tokens, weights[tokens, choice])


def by_token(choices: Wide, weights: Wide, cache: int, lines: int) -> Iterator[Entry]:
    """An entry a token and choice; the place used longest ago is taken, empty ones first, ascending."""
    places: OrderedDict[int, int] = OrderedDict()
    for token, choice in np.ndindex(*choices.shape):
        expert = int(choices[token, choice])
        load = expert not in places
        if load:
            places[expert] = len(places) if len(places) < cache else places.popitem(last=False)[1]
        places.move_to_end(expert)
        queue = np.array([token]), weights[token, choice : choice + 1]
        yield Entry(expert, *queue, places[expert] * lines, lines, load)
