"""DRAM: servers that four clients share, one piece each in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from edgemtl.hw.sim.cycle.kernel import Kernel

CLIENTS: Final = ("weights", "load", "store", "instructions")
"""The clients in the order of their turns."""
PIECE_BYTES: Final = 2048
"""Most bytes of a turn: eight bursts of 16 beats at 128 bits, AXI3's longest, which is what the HP ports pass on."""
WINDOW_BYTES: Final = 2**38
"""From the begin of one window of DRAM to the next: what an address reaches."""
Taken = Callable[[float, float], None]


@dataclass(frozen=True)
class Piece:
    """Bytes that a client requests at once: ``address`` is the first one's in DRAM, ``asked`` the cycle."""

    client: str
    size: int
    address: int
    asked: float


class Transfers(Protocol):
    """How long a memory takes for pieces that come one after the other."""

    def serve(self, piece: Piece, now: float) -> tuple[float, float]:
        """The begin and the end of a piece's transfer, when the one before has ended ``now``."""


@dataclass(frozen=True)
class Steady:
    """So many bytes in every cycle."""

    rate: float

    def serve(self, piece: Piece, now: float) -> tuple[float, float]:
        """At once."""
        return now, now + piece.size / self.rate


class Dram:
    """One memory. A client requests one piece at a time, the next once that has begun."""

    def __init__(self, kernel: Kernel, transfers: Transfers) -> None:
        self._kernel, self._transfers = kernel, transfers
        self._asked: list[tuple[Piece, Taken] | None] = [None] * len(CLIENTS)
        self._turn, self._busy = 0, False

    def ask(self, client: str, size: int, address: int, taken: Taken) -> None:
        """Request a piece; when its turn comes, ``taken`` is called with the begin and the end of its transfer."""
        self._asked[CLIENTS.index(client)] = Piece(client, size, address, self._kernel.now), taken
        if not self._busy:
            self._next(self._kernel.now)

    def _next(self, now: float) -> None:
        self._busy = False
        for step in range(1, len(CLIENTS) + 1):
            client = (self._turn + step) % len(CLIENTS)
            asked = self._asked[client]
            if asked is not None:
                self._asked[client] = None
                self._turn, self._busy = client, True
                piece, taken = asked
                begin, end = self._transfers.serve(piece, now)
                self._kernel.at(end, self._next)
                taken(begin, end)
                return


class Memories:
    """The DRAM of the processing system, and beside it perhaps one of the logic, between which weights alternate."""

    def __init__(self, kernel: Kernel, transfers: Sequence[Transfers]) -> None:
        self._memories = [Dram(kernel, each) for each in transfers]

    def ask(self, client: str, size: int, address: int, taken: Taken) -> None:
        """`Dram.ask` of the memory that has the piece: weights lie in all of them, `PIECE_BYTES` in each in turn."""
        index = 0
        if client == "weights":
            piece, at = divmod(address, PIECE_BYTES)
            piece, index = divmod(piece, len(self._memories))
            address = piece * PIECE_BYTES + at
        self._memories[index].ask(client, size, address, taken)
