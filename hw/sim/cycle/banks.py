"""DRAM by its own commands: rows of banks are opened and closed, reading turns to writing, all banks are refreshed.

It is what the chips allow: the controller's queues, the ports and the host CPU's traffic take more. Bank groups are
taken to alternate, so that bursts follow each other without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgemtl.errors import UsageError
from edgemtl.hw.sim.cycle.memory import Piece
from edgemtl.hw.spec import AcceleratorSpec, MemoryTiming


def by_banks(spec: AcceleratorSpec) -> list[Banks]:
    """The memories of a board. Raises UsageError for one whose board file has no timing."""
    memories = {"memory": spec.board.memory} | ({} if spec.board.option is None else {"option": spec.board.option})
    timings = {name: memory.timing for name, memory in memories.items()}
    missing = [name for name, timing in timings.items() if timing is None]
    if missing:
        raise UsageError(
            f"{spec.name}: board.{missing[0]}.timing must be given to simulate rows and banks; add the table"
        )
    ports = spec.engine.dma_ports * spec.board.ports.data_bits / 8
    most = {"memory": ports, "option": float("inf")}
    mhz = spec.engine.clock_mhz
    rates = {name: min(most[name], memory.peak_bytes_per_s / (mhz * 1e6)) for name, memory in memories.items()}
    return [Banks(timing, rates[name], mhz) for name, timing in timings.items() if timing is not None]


@dataclass
class Bank:
    """The open row, None where all are closed; from when on it may be closed, and when it was opened."""

    row: int | None = None
    closable: float = 0.0
    opened: float = float("-inf")


class Banks:
    """A memory of ``rate`` bytes a cycle while nothing is in the way; consecutive rows lie in consecutive banks."""

    def __init__(self, timing: MemoryTiming, rate: float, clock_mhz: int) -> None:
        self._timing, self._rate, self._cycle_ps = timing, rate, 10**6 / clock_mhz
        self._banks = [Bank() for _ in range(timing.banks)]
        self._writes = False
        self._refresh = self._cycles(timing.refresh_interval_ps)

    def _cycles(self, ps: int) -> float:
        return ps / self._cycle_ps

    def serve(self, piece: Piece, now: float) -> tuple[float, float]:
        """A row is opened for a piece while the one before is on its way."""
        now, first = self._turn(piece.client == "store", self._refreshed(now)), None
        for row, size in self._rows(piece):
            begin = max(now, self._opened(row, piece.asked))
            first = begin if first is None else first
            now = begin + size / self._rate
            recovery = self._timing.write_recovery_ps if self._writes else 0
            self._banks[row % self._timing.banks].closable = now + self._cycles(recovery)
        return now if first is None else first, now

    def _rows(self, piece: Piece) -> Iterator[tuple[int, int]]:
        """The rows of the memory that a piece lies in, counted over all banks, and its bytes in each."""
        at, end = piece.address, piece.address + piece.size
        while at < end:
            stop = min(end, (at // self._timing.row_bytes + 1) * self._timing.row_bytes)
            yield at // self._timing.row_bytes, stop - at
            at = stop

    def _refreshed(self, now: float) -> float:
        """From when on the bus is free, with the refreshes that are due: each closes all rows."""
        while self._refresh <= now:
            start = max([self._refresh, *(bank.closable for bank in self._banks)])
            end = start + self._cycles(self._timing.refresh_ps)
            now = max(now, end)
            for bank in self._banks:
                bank.row, bank.closable = None, end
            self._refresh += self._cycles(self._timing.refresh_interval_ps)
        return now

    def _turn(self, writes: bool, now: float) -> float:
        """From when on the bus is free for this direction."""
        if writes == self._writes:
            return now
        self._writes = writes
        turn = self._timing.read_to_write_ps if writes else self._timing.write_to_read_ps
        return now + self._cycles(turn)

    def _opened(self, row: int, asked: float) -> float:
        """From when on a row can be read or written; it is opened as soon as it is asked for and its bank lets it."""
        timing, bank = self._timing, self._banks[row % self._timing.banks]
        if bank.row == row:
            return 0.0
        closed = max(asked, bank.closable) + (self._cycles(timing.precharge_ps) if bank.row is not None else 0.0)
        bank.opened = max(closed, bank.opened + self._cycles(timing.row_cycle_ps))
        bank.row = row
        return bank.opened + self._cycles(timing.activate_ps)
