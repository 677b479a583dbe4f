"""Tokens between units: the n-th taken of a pair is the n-th given, and carries the giver's clock."""

from __future__ import annotations

from collections import deque

from edgemtl.hw.isa import UNITS, Instruction
from edgemtl.hw.sim.functional.hazards import Clock


class Tokens:
    """What every ordered pair of units holds: the place of the giver's instruction and its clock, oldest first."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], deque[tuple[int, Clock]]] = {
            (giver, taker): deque() for giver in UNITS for taker in UNITS
        }

    def missing(self, instruction: Instruction) -> list[str]:
        """Units that still owe a token to the instruction."""
        return [unit for unit in UNITS if unit in instruction.waits and not self._held[unit, instruction.unit]]

    def take(self, instruction: Instruction) -> list[Clock]:
        """One token of every unit the instruction waits for."""
        return [self._held[unit, instruction.unit].popleft()[1] for unit in UNITS if unit in instruction.waits]

    def give(self, place: int, instruction: Instruction, clock: Clock) -> None:
        """One token to every unit that the instruction at ``place`` signals."""
        for unit in instruction.signals:
            self._held[instruction.unit, unit].append((place, clock))

    def left(self) -> tuple[int, str] | None:
        """The place of the giver and the taker of a token that nobody took, the first of the stream; None for none."""
        return min(((held[0][0], taker) for (_, taker), held in self._held.items() if held), default=None)
