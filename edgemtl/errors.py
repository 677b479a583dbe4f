"""Every error a user can meet, each with its exit code.

A message reads "X must be Y, not Z; do W": it names the thing, what it must be, what it is and the next step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class EdgemtlError(Exception):
    """The thing asked for failed; the base of every error this project raises on purpose."""

    exit_code = 1


class InternalError(Exception):
    """A mistake of the compiler, not of its user; no `EdgemtlError`, so that it is reported as a fault of the tool."""


class ModelError(EdgemtlError):
    """An ONNX file that cannot be read or is not what it says it is."""


class CheckpointError(EdgemtlError):
    """A checkpoint that cannot be read or does not fit its model."""


class ConfigError(EdgemtlError):
    """A model, board or manifest field outside its range."""


class InputError(EdgemtlError):
    """An image, array or label that cannot be used as it is."""


class OutputError(EdgemtlError):
    """A result that could not be written."""


class SelftestError(EdgemtlError):
    """A freshly compiled bundle whose program does not give what the model gives."""


class QuantisationError(EdgemtlError):
    """An integer model that is too far from the float one it was made from."""


class UsageError(EdgemtlError):
    """A request that contradicts itself or names something that is not there."""

    exit_code = 2


class StoppedError(EdgemtlError):
    """A run that was stopped before its end: its time was over, or it was cancelled."""


class UnsupportedError(EdgemtlError):
    """A node the compiler cannot handle.

    Attributes: ``node`` (its name in the file), ``reason`` and ``hint`` (what the user can do).
    """

    exit_code = 3

    def __init__(self, node: str, reason: str, hint: str) -> None:
        super().__init__(f"{node}: {reason}; {hint}")
        self.node, self.reason, self.hint = node, reason, hint


class BudgetError(EdgemtlError):
    """A memory budget that cannot hold. Attributes in bytes: ``required``, ``available``, ``missing``."""

    exit_code = 4

    def __init__(self, what: str, required: int, available: int, hint: str) -> None:
        self.required, self.available, self.missing = required, available, required - available
        super().__init__(
            f"{what} needs {required} bytes, the budget is {available} bytes, {self.missing} bytes are missing; {hint}"
        )


class ResourceError(EdgemtlError):
    """A design that needs more of a part than the part has. ``missing``: how many of each resource."""

    exit_code = 4

    def __init__(self, what: str, missing: Mapping[str, float], sums: Sequence[str]) -> None:
        self.missing = dict(missing)
        short = ", ".join(f"{amount:,.1f}".removesuffix(".0") + f" {name}" for name, amount in missing.items())
        super().__init__(f"{what} does not fit, {short} are missing: {'; '.join(sums)}; take less of the largest terms")


class IntegrityError(EdgemtlError):
    """A bundle whose bytes are not the ones that were written."""

    exit_code = 5
