"""The board's memory: one server that four clients share, a piece each in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgemtl.hw.sim.cycle.kernel import Kernel

CLIENTS: Final = ("weights", "load", "store", "instructions")
"""In the order in which they have their turns."""
PIECE_BYTES: Final = 2048
"""Most bytes of a turn: eight bursts of 16 beats at 128 bits, AXI3's longest, which is what the HP ports pass on."""
LATENCY: Final = 60
"""Cycles from the end of a piece at the memory to its last byte on chip; from the study, a guess for 300 MHz."""

Taken = Callable[[float, float], None]


class Memory:
    """``rate`` bytes a cycle. A client asks for one piece at a time, for the next when that has begun."""

    def __init__(self, kernel: Kernel, rate: float) -> None:
        self._kernel, self._rate = kernel, rate
        self._asked: list[tuple[int, Taken] | None] = [None] * len(CLIENTS)
        self._turn, self._busy = 0, False

    def ask(self, client: str, size: int, taken: Taken) -> None:
        """Ask for a piece; ``taken`` is called when its turn has come, with when it begins and ends at the memory."""
        self._asked[CLIENTS.index(client)] = size, taken
        if not self._busy:
            self._next(self._kernel.now)

    def _next(self, now: float) -> None:
        self._busy = False
        for step in range(1, len(CLIENTS) + 1):
            client = (self._turn + step) % len(CLIENTS)
            piece = self._asked[client]
            if piece is not None:
                self._asked[client] = None
                self._turn, self._busy = client, True
                size, taken = piece
                end = now + size / self._rate
                self._kernel.at(end, self._next)
                taken(now, end)
                return
