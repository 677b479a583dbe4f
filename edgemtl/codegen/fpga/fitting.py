"""What was learnt of a task's groups while its segments were written: which of them fit nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgemtl.codegen.fpga import networks
from edgemtl.errors import EdgemtlError

Run = tuple[networks.Group, ...]
Key = tuple[type, str]
"""A kind of group and the buffer that one of this kind writes last."""


def key_of(group: networks.Group) -> Key:
    """What a group is known by."""
    return type(group), networks.steps_of(group)[-1].result.buffer


class UnfitSegment(Exception):
    """A segment that cannot be written because of one of its groups."""

    def __init__(self, run: Sequence[networks.Group], index: int, error: EdgemtlError) -> None:
        super().__init__(str(error))
        self.run, self.group, self.error = tuple(run), run[index], error


@dataclass(frozen=True)
class Fitting:
    """alone: groups that are a segment of their own. unfit: groups that no memory or instruction holds even so.

    reasons: why, by the buffers that the steps of these groups write first.
    """

    alone: frozenset[Key] = frozenset()
    unfit: frozenset[Key] = frozenset()
    reasons: Mapping[str, str] = field(default_factory=dict)

    def without(self, unfit: UnfitSegment) -> Fitting:
        """The same where a group of several becomes a segment of its own, or one is given up."""
        key = key_of(unfit.group)
        if len(unfit.run) > 1:
            return Fitting(self.alone | {key}, self.unfit, self.reasons)
        why = f"the accelerator has no room for it: {unfit.error}"
        reasons = {step.result.buffer: why for step in networks.steps_of(unfit.group)}
        return Fitting(self.alone, self.unfit | {key}, {**self.reasons, **reasons})


EVERYTHING_FITS = Fitting()
