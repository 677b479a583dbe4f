"""A compiled FPGA program: segments for the accelerator, and the steps that stay on the host CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgemtl.codegen.fpga.segment import Segment
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.lowering.ir import Step
from edgemtl.operators import Operator, Signature, TensorType


@dataclass(frozen=True)
class SegmentCall(Operator):
    """A step of the host's program that the accelerator runs; ``index``: its segment in `FpgaTask.segments`."""

    index: int
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]

    @property
    def signature(self) -> Signature:
        return Signature(_numbered("x", self.inputs), _numbered("y", self.outputs))


def _numbered(name: str, types: Sequence[TensorType]) -> dict[str, TensorType]:
    return {f"{name}{index}": kind for index, kind in enumerate(types)}


@dataclass(frozen=True)
class LeftStep:
    """A step that stays on the CPU, and why."""

    origin: tuple[str, ...]
    kind: str
    reason: str


@dataclass(frozen=True)
class FpgaTask:
    """One task. ``steps``: what the CPU does, a `SegmentCall` step in the place of each segment."""

    task: str
    steps: tuple[Step, ...] = field(repr=False)
    segments: tuple[Segment, ...]
    left: tuple[LeftStep, ...]


@dataclass(frozen=True)
class FpgaProgram:
    """Every task compiled for one board; ``parameters`` are the window of that name, shared by all segments.

    ``share`` of the memory on chip that blocks may take: 1 where no budget asked for less.
    """

    spec: AcceleratorSpec
    tasks: tuple[FpgaTask, ...]
    parameters: bytes = field(repr=False)
    share: float

    @property
    def on_chip(self) -> dict[str, int]:
        """Bytes by memory: the most that any segment takes of each."""
        return most(segment for task in self.tasks for segment in task.segments)


def most(segments: Iterable[Segment]) -> dict[str, int]:
    """Bytes by memory: the most that any of the segments takes of each."""
    bytes_by_memory: dict[str, int] = {}
    for segment in segments:
        for name, size in segment.on_chip.items():
            bytes_by_memory[name] = max(bytes_by_memory.get(name, 0), size)
    return bytes_by_memory


Early = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Prefetch lists by task, then by the buffer of a gate's output: the experts fetched before routing is known."""
