"""Credits between units: for each pair, the n-th consumed is the n-th posted, and carries the poster's clock."""

from __future__ import annotations

from collections import deque

from edgemtl.hw.isa import UNITS, Instruction
from edgemtl.hw.sim.functional.hazards import Clock


class Credits:
    """The credits of every ordered pair of units, oldest first: index and clock of the instruction that posted each."""

    def __init__(self) -> None:
        self._posted: dict[tuple[str, str], deque[tuple[int, Clock]]] = {
            (poster, taker): deque() for poster in UNITS for taker in UNITS
        }

    def missing(self, instruction: Instruction) -> list[str]:
        """Units from which the instruction still lacks a credit."""
        return [unit for unit in UNITS if unit in instruction.waits and not self._posted[unit, instruction.unit]]

    def take(self, instruction: Instruction) -> list[Clock]:
        """Consume one credit from every unit the instruction waits for; the clocks of their posters."""
        return [self._posted[unit, instruction.unit].popleft()[1] for unit in UNITS if unit in instruction.waits]

    def post(self, place: int, instruction: Instruction, clock: Clock) -> None:
        """Post one credit to every unit that the instruction at index ``place`` signals."""
        for unit in instruction.signals:
            self._posted[instruction.unit, unit].append((place, clock))

    def left(self) -> tuple[int, str] | None:
        """Index of the poster and taking unit of the first credit in the stream that was never consumed, or None."""
        return min(((posted[0][0], taker) for (_, taker), posted in self._posted.items() if posted), default=None)
