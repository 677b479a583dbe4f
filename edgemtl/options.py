"""What a user decides about a compilation; every default is visible here and recorded in the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgemtl.errors import UsageError

Pathway = Literal["exact", "window", "calibrated"]
Precision = Literal["fp32"]

PATHWAYS: tuple[str, ...] = get_args(Pathway)
PRECISIONS: tuple[str, ...] = get_args(Precision)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} must be one of {', '.join(choices)}, not {value!r}")


@dataclass(frozen=True)
class CompileOptions:
    """Behaviour of one compilation.

    ``tasks`` empty means every task of the model. ``memory_budget`` is in bytes and bounds what the runtime
    allocates: arena, kernel workspaces and transformed weights. ``calibration`` is a folder of images, needed
    by the calibrated pathway. ``seed`` draws the golden input. ``threads`` is the number of parts the kernels
    are split into, so the most threads a session can use. ``mean``, ``std`` and ``kinds`` (task, kind) fill in
    what a model does not record about its input and its tasks.

    Raises UsageError for a value outside its choices.
    """

    target: str = "cpu"
    tasks: tuple[str, ...] = ()
    pathway: str = "exact"
    precision: str = "fp32"
    memory_budget: int | None = None
    calibration: Path | None = None
    threads: int = 2
    seed: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    kinds: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_choice("pathway", self.pathway, PATHWAYS)
        _check_choice("precision", self.precision, PRECISIONS)
        if not 1 <= self.threads <= 64:
            raise UsageError(f"--threads must be between 1 and 64, not {self.threads}")
        if (self.mean is None) != (self.std is None):
            raise UsageError("--mean and --std must be given together, or neither")
        if self.pathway == "calibrated" and self.calibration is None:
            raise UsageError(
                "--pathway calibrated must come with --calibration FOLDER: it drops the experts those images never use"
            )
