"""What a session tells about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskInfo:
    """One task: what its map means, its channels, its output float32 [1, C, ...], its pathway, its steps."""

    name: str
    kind: str
    channels: int
    output_shape: tuple[int, ...]
    pathway: str
    steps: int


@dataclass(frozen=True)
class Memory:
    """Bytes a session holds.

    arena_bytes: working memory, shared by all tasks.  prepared_bytes: weights in the form kernels read, made
    at open.  staging_bytes: aligned copies of the input and the outputs.  weights_bytes: mapped from the
    file, shared with every process that maps it.  peak_resident_bytes: most the whole process has had in
    memory, measured.
    """

    arena_bytes: int
    prepared_bytes: int
    staging_bytes: int
    weights_bytes: int
    peak_resident_bytes: int

    @property
    def allocated_bytes(self) -> int:
        """What the session has allocated; a memory budget bounds arena_bytes + prepared_bytes of it."""
        return self.arena_bytes + self.prepared_bytes + self.staging_bytes


@dataclass(frozen=True)
class SelftestResult:
    """A golden input, run: largest distance from the golden output, the one allowed, values compared."""

    task: str
    passed: bool
    max_abs_error: float
    tolerance: float
    elements: int


@dataclass(frozen=True)
class StepTime:
    """One step of a task: its number, its kernel, the nodes it stands for, and the time it took."""

    step: int
    kernel: str
    origin: tuple[str, ...]
    seconds: float
