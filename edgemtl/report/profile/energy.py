"""The simulator's estimate of energy as rows of a profile."""

from __future__ import annotations

from collections.abc import Iterable

from edgemtl.hw.sim.energy import COEFFICIENTS, Energy
from edgemtl.report.profile.parts import Coefficient, EnergyPart


def energy_parts(estimates: Iterable[Energy]) -> tuple[EnergyPart, ...]:
    """The parts of all estimates added up, where all err the same way."""
    sums: dict[str, EnergyPart] = {}
    for part in (part for estimate in estimates for part in estimate.parts):
        before = sums.get(part.name, EnergyPart(part.name, 0, 0, 0, 0))
        sums[part.name] = EnergyPart(
            part.name,
            before.amount + part.amount,
            before.low + part.joules.low,
            before.typical + part.joules.typical,
            before.high + part.joules.high,
        )
    return tuple(sums.values())


def coefficients() -> tuple[Coefficient, ...]:
    """What estimates are calculated with."""
    return tuple(
        Coefficient(
            coefficient.name,
            coefficient.unit,
            coefficient.joules.low,
            coefficient.joules.typical,
            coefficient.joules.high,
            coefficient.source,
        )
        for coefficient in COEFFICIENTS
    )
