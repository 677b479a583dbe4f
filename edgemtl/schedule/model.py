"""What the planner takes and gives: buffers, steps, lifetimes, a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes every offset is a multiple of: a cache line, and the widest aligned vector load."""


@dataclass(frozen=True)
class Buffer:
    """Memory that steps share through the arena; `bytes` is its size."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Slot:
    """One step as the planner sees it: the names of the buffers it reads, writes, and uses as scratch while it runs."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    workspaces: tuple[str, ...] = ()

    @property
    def touches(self) -> frozenset[str]:
        """Every buffer that must be in memory while the step runs."""
        return frozenset((*self.reads, *self.writes, *self.workspaces))


@dataclass(frozen=True)
class Lifetime:
    """First and last step, both inclusive, at which a buffer's bytes must be its own."""

    first: int
    last: int


Timeline = Mapping[str, Lifetime]
"""One task's buffers, each with its lifetime counted in that task's steps."""


@dataclass(frozen=True)
class Plan:
    """Where each buffer lies in the one arena all tasks share; offsets and sizes in bytes.

    `lower_bound_bytes`: no plan for these steps in this order can be smaller; it is the largest sum of the
    sizes of buffers alive at one step, each rounded up to the alignment.
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    lower_bound_bytes: int

    @property
    def gap(self) -> float:
        """By how much the arena exceeds the lower bound: 0.0 is optimal, 0.1 is ten percent over."""
        return self.arena_bytes / self.lower_bound_bytes - 1 if self.lower_bound_bytes else 0.0


def aligned(size: int) -> int:
    """The size rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT
