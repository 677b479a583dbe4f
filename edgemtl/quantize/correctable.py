"""Integer steps whose biases may be corrected."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgemtl.operators import Array


@dataclass(frozen=True)
class Correctable:
    """An integer step whose bias may be corrected, and the index ``source`` of its float step.

    unit [n]: the LSB of each column's bias.
    """

    step: int
    source: int
    unit: Array = field(repr=False)
