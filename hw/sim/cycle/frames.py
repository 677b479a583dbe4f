"""The input of a simulation: streams in the order in which they run, each with the choices of its routers."""

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
    early: for each of them the prefetch list, the experts fetched before routing is known; () where none has any.
    """

    stream: Stream
    routes: tuple[npt.NDArray[np.int32], ...]
    early: tuple[tuple[int, ...], ...] = ()


def routers(stream: Stream) -> list[tuple[int, Instruction]]:
    """Every ROUTE that writes a list, with its index in the stream."""
    return [
        (place, instruction)
        for place, instruction in enumerate(stream.instructions)
        if instruction.name == "ROUTE" and instruction["end"]
    ]


def early_lists(frame: Frame) -> tuple[tuple[int, ...], ...]:
    """The prefetch list of each ROUTE with `end`.

    Raises UsageError where the stream asks for another number of routes or prefetched experts, and InputError for
    choices that are no table of candidates.
    """
    routes = [route for _, route in routers(frame.stream)]
    if len(frame.routes) != len(routes):
        raise UsageError(f"routes must be {len(routes)}, one for each ROUTE with end, not {len(frame.routes)}")
    early = frame.early or ((),) * len(routes)
    expected = tuple(route["early"] for route in routes)
    if (given := tuple(map(len, early))) != expected:
        raise UsageError(f"early experts must be {expected}, as many as each ROUTE says, not {given}")
    for at, choices in enumerate(frame.routes):
        if choices.ndim != 2 or (choices.size and choices.min() < 0):
            raise InputError(f"routes[{at}] must be candidates from 0 on, [tokens, k], not {choices.shape} as given")
    return early
