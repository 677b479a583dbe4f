"""What merging says when it is done: for people and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MergedTask:
    """One task of the merged model.

    shared_until: the last layer it has in common with another file, None where they only store weights together.
    file_bytes, macs: of its file by itself.  near_weights: taken from another file within the tolerance.
    delta_weights: stored as differences, in ``delta_bytes``.  max_abs, sqnr_db: the output against that of the file,
    measured; 0 and infinite for equal bits.
    """

    task: str
    file: str
    shared_until: str | None
    file_bytes: int
    macs: int
    near_weights: int
    delta_weights: int
    delta_bytes: int
    max_abs: float
    sqnr_db: float


@dataclass(frozen=True)
class MergeResult:
    """A merged model. shared_until: the last layer that all tasks have in common.  macs: of one run of all tasks."""

    model: str
    shared_until: str | None
    model_bytes: int
    file_bytes: int
    macs: int
    file_macs: int
    tasks: tuple[MergedTask, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; an infinite ratio is null."""
        tasks = [{**asdict(t), "sqnr_db": t.sqnr_db if math.isfinite(t.sqnr_db) else None} for t in self.tasks]
        return {**asdict(self), "tasks": tasks}
