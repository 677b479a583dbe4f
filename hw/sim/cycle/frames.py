"""What a simulation is asked: streams in the order in which they run, each with what the router decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemtl.errors import InputError, UsageError
from edgemtl.hw.encoding import Stream
from edgemtl.hw.isa import Instruction


@dataclass(frozen=True)
class Frame:
    """One stream that runs once.

    routes: for each ROUTE with `end`, in order, the choices [tokens, k]: candidates from 0, largest logit first.
    early: for each of them the experts fetched before the router has run, first in its list; () where none has any.
    """

    stream: Stream
    routes: tuple[npt.NDArray[np.int32], ...]
    early: tuple[tuple[int, ...], ...] = ()


def routers(stream: Stream) -> list[tuple[int, Instruction]]:
    """Every ROUTE that makes a list, with its place in the stream."""
    return [(place, made) for place, made in enumerate(stream.instructions) if made.name == "ROUTE" and made["end"]]


def early_lists(frame: Frame) -> tuple[tuple[int, ...], ...]:
    """One tuple of early experts for each ROUTE with `end`.

    Raises UsageError where routes or early experts are not as many as the stream asks for, and InputError for choices
    that are no table of candidates.
    """
    made = [route for _, route in routers(frame.stream)]
    if len(frame.routes) != len(made):
        raise UsageError(f"routes must be {len(made)}, one for each ROUTE with end, not {len(frame.routes)}")
    early = frame.early or ((),) * len(made)
    wanted = tuple(route["early"] for route in made)
    if (given := tuple(map(len, early))) != wanted:
        raise UsageError(f"early experts must be {wanted}, as many as each ROUTE says, not {given}")
    for at, choices in enumerate(frame.routes):
        if choices.ndim != 2 or (choices.size and choices.min() < 0):
            raise InputError(f"routes[{at}] must be candidates from 0 on, [tokens, k], not {choices.shape} as given")
    return early
