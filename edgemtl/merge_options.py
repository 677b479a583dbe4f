"""What a user decides about a merge of models; every default is visible here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgemtl.errors import UsageError
from edgemtl.options import Shapes, check_normalisation

MAX_TOLERANCE = 0.1
"""Of a tensor's largest weight: beyond it two tensors have little in common."""
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and deviations, one of each for a channel: a model takes (pixel / 255 - mean) / std."""


@dataclass(frozen=True)
class MergeInput:
    """A model to merge: the name of its task and its file.

    normalisation: what its input needs; None for what the file records, if it does.  overrides: also where it does.
    """

    task: str
    path: Path
    normalisation: Normalisation | None = None
    overrides: bool = False

    def __post_init__(self) -> None:
        check_normalisation(*(self.normalisation or (None, None)))


@dataclass(frozen=True)
class MergeOptions:
    """How models become one.

    tolerance: of the largest weight of a tensor, by which tensors of two files may differ to be stored and run as one.
    deltas: 8 or 4, the bits of stored differences; None for none.  least_sqnr_db: the least signal-to-noise ratio of an
    output to that of its file, in decibel.  shapes: (input, sizes) fix axes that files leave open.

    Raises UsageError for a value outside its choices.
    """

    tolerance: float = 0.0
    deltas: int | None = None
    least_sqnr_db: float = 15.0
    shapes: Shapes = ()

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= MAX_TOLERANCE:
            raise UsageError(f"--tolerance must be from 0 to {MAX_TOLERANCE:g}, not {self.tolerance:g}")
        if self.deltas not in (None, 8, 4):
            raise UsageError(f"--deltas must be 8 or 4, not {self.deltas}")
        if math.isnan(self.least_sqnr_db):
            raise UsageError("--min-sqnr must be a number, not nan")

    @property
    def least_opset(self) -> int:
        """The first opset that can store what is asked for: differences by channel, or in 4 bits."""
        return {None: 1, 8: 13, 4: 21}[self.deltas]
