"""What matchers of groups ask of steps: their kinds in a row, how they are chained, and who reads their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from edgemtl.lowering.ir import Step, View


@dataclass(frozen=True)
class Uses:
    """Which steps read which buffer."""

    steps: Sequence[Step]

    @cached_property
    def writers(self) -> Mapping[str, View]:
        """What steps write, by buffer."""
        return {view.buffer: view for step in self.steps for view in step.outputs}

    def reads_rows(self, view: View) -> bool:
        """Whether a step reads whole rows of a buffer that steps write, taken to be as wide as the reader's."""
        written, flat = self.writers.get(view.buffer), view.reshape((view.size,))
        width = view.shape[-1]
        whole = written is not None and not written.size % width and not view.offset % width
        return whole and flat is not None and flat.strides == (1,)

    def readers(self, name: str) -> list[int]:
        """Indices of the steps that read a buffer."""
        return [i for i, step in enumerate(self.steps) if any(view.buffer == name for view in step.inputs)]


def take(steps: Sequence[Step], at: int, *kinds: type) -> tuple[Step, ...] | None:
    """The next steps, where they are of these kinds."""
    part = tuple(steps[at : at + len(kinds)])
    fits = len(part) == len(kinds) and all(isinstance(s.operator, kind) for s, kind in zip(part, kinds, strict=True))
    return part if fits else None


def chained(part: Sequence[Step]) -> bool:
    """Whether the main input of each step is the result of the previous one."""
    return all(a.result.buffer == b.main_input.buffer for a, b in pairwise(part))


def inner(part: Sequence[Step], at: int, uses: Uses) -> bool:
    """Whether no step outside reads a result that is not the last one's."""
    inside = range(at, at + len(part))
    return all(r in inside for s in part[:-1] for view in s.outputs for r in uses.readers(view.buffer))
