"""DRAM: one server that four clients share, one piece each in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgemtl.hw.sim.cycle.kernel import Kernel

CLIENTS: Final = ("weights", "load", "store", "instructions")
"""The clients in the order of their turns."""
PIECE_BYTES: Final = 2048
"""Most bytes of a turn: eight bursts of 16 beats at 128 bits, AXI3's longest, which is what the HP ports pass on."""
Taken = Callable[[float, float], None]


class Dram:
    """DRAM with ``rate`` bytes per cycle. A client requests one piece at a time, the next once that has begun."""

    def __init__(self, kernel: Kernel, rate: float) -> None:
        self._kernel, self._rate = kernel, rate
        self._asked: list[tuple[int, Taken] | None] = [None] * len(CLIENTS)
        self._turn, self._busy = 0, False

    def ask(self, client: str, size: int, taken: Taken) -> None:
        """Request a piece; when its turn comes, ``taken`` is called with the begin and the end of its transfer."""
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
