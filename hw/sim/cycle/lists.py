"""The router's list: which experts the slots of a stream stand for, and how many tokens each has."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Entry:
    """One entry: its expert, the tokens of its queue, and whether its weights must be loaded into the cache."""

    expert: int
    tokens: int
    load: bool


def by_expert(choices: npt.NDArray[np.int32], early: tuple[int, ...]) -> tuple[Entry, ...]:
    """The list in order of experts: the prefetched ones as given, even without tokens, then the others with tokens."""
    counts = np.bincount(choices.ravel(), minlength=max(early, default=-1) + 1).tolist()
    others = [expert for expert, count in enumerate(counts) if count and expert not in early]
    return tuple(Entry(expert, counts[expert], True) for expert in (*early, *others))


def by_token(choices: npt.NDArray[np.int32], capacity: int) -> tuple[Entry, ...]:
    """The list in order of tokens, then of logits, with a cache of ``capacity`` experts that starts empty.

    The least recently used expert is replaced.
    """
    cached: OrderedDict[int, None] = OrderedDict()
    entries = []
    for expert in choices.ravel().tolist():
        entries.append(Entry(expert, 1, expert not in cached))
        cached[expert] = None
        cached.move_to_end(expert)
        if len(cached) > capacity:
            cached.popitem(last=False)
    return tuple(entries)
